package bench

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/schemas"
)

//go:embed schemas
var schemaFiles embed.FS

func loadEvent() (*schemas.EventType, error) {
	catalog, err := schemas.Load(schemaFiles, "schemas")
	if err != nil {
		return nil, err
	}
	return catalog.Events()[0], nil
}

// Encoding is what a service writes into the outbox.
type Encoding string

// The encodings.
const (
	Avro Encoding = "avro" // passes through
	JSON Encoding = "json" // is transcoded
)

const (
	// payloadBytes is the size of a payload, in either encoding, unless told otherwise.
	payloadBytes = 250
	// digits of the row's number, in every payload, behind the mark.
	digits = 12
	mark   = "order-"
)

// template is a payload whose number is 0, and where in it the number is.
type template struct {
	payload []byte
	at      int // offset of the digits
}

// newTemplate makes the payload of an order with two lines, of so many bytes or a few more.
// A note fills it up.
func newTemplate(event *schemas.EventType, enc Encoding, size int) (template, error) {
	filler := rand.New(rand.NewPCG(1, 2)) // does not compress
	build := func(note int) ([]byte, error) {
		text := make([]byte, note)
		for i := range text {
			text[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[filler.IntN(64)]
		}
		order := fmt.Sprintf(`{"order_id":"%s%s","customer_id":"c-00417","placed_at":1781049600123456,"currency":"EUR","total_cents":12999,`+
			`"lines":[{"sku":"A-100","quantity":2,"price_cents":2500},{"sku":"B-7","quantity":1,"price_cents":7999}],`+
			`"ship_to":{"street":"Main St 1","city":"Ulm","country":"DE"},"note":"%s"}`, mark, strings.Repeat("0", digits), text)
		if enc == JSON {
			return []byte(order), nil
		}
		return schemas.AppendJSONToAvro(nil, event.Schema, []byte(order))
	}
	payload, err := build(1)
	if err == nil {
		payload, err = build(max(1, size-len(payload)))
	}
	return template{payload, bytes.Index(payload, []byte(mark)) + len(mark)}, err
}

// fillProcedure writes rows number $1 to $1+$2-1, $3 in a transaction; a session commits
// without waiting for the disk.
const fillProcedure = `create procedure bench_fill(first bigint, n bigint, per bigint, payload bytea, at int, type text, encoding int, fingerprint bytea)
language plpgsql as $$ begin
	for i in 0..(n + per - 1) / per - 1 loop
		insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload)
			select 'order', 'order-' || k % 10000, type, encoding, fingerprint, overlay(payload placing convert_to(lpad(k::text, 12, '0'), 'UTF8') from at + 1)
			from generate_series(first + i * per, least(first + i * per + per, first + n) - 1) k;
		commit;
	end loop;
end $$`

// fill writes rows with payloads of so many bytes.
func (s *source) fill(ctx context.Context, enc Encoding, size, n, perTx int) error {
	t, err := newTemplate(s.event, enc, size)
	if err != nil {
		return err
	}
	db, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	encoding, fingerprint := 2, []byte(nil)
	if enc == Avro {
		encoding, fingerprint = 1, s.event.Fingerprint[:]
	}
	if _, err := db.Exec(ctx, "set synchronous_commit = off"); err != nil {
		return err
	}
	_, err = db.Exec(ctx, "call bench_fill($1, $2, $3, $4, $5, $6, $7, $8)", 0, n, perTx, t.payload, t.at, s.event.Name, encoding, fingerprint)
	return err
}
