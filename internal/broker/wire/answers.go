package wire

import "encoding/binary"

const (
	// maxFrame bounds what is read from a broker, in bytes. A producer is sent
	// no payloads; the longest is the text of an error, which may quote a schema.
	maxFrame = 1 << 20
	maxText  = 4 << 10 // of each text in it that is kept
)

// text copies a text of the broker's, clipped.
func text(data []byte) string { return string(data[:min(len(data), maxText)]) }

// parseFrame splits a frame without its leading total size into the command's
// kind and body. What follows the command (a payload) is not looked at; an
// unknown command has no body. Error: ErrProtocol.
func parseFrame(frame []byte) (kind command, body []byte, err error) {
	if len(frame) < 4 {
		return 0, nil, ErrProtocol
	}
	size := binary.BigEndian.Uint32(frame)
	if uint64(size) > uint64(len(frame)-4) {
		return 0, nil, ErrProtocol
	}
	err = eachField(frame[4:4+size], func(number int, value uint64, data []byte) {
		switch {
		case number == 1:
			kind = command(value & 0xffff)
		case number == int(kind): // protobuf writers keep the order of the numbers
			body = data
		}
	})
	if err == nil && kind == 0 {
		err = ErrProtocol
	}
	return kind, body, err
}

// Greeting is what a broker says when a client connects.
type Greeting struct {
	ServerVersion  string // not empty
	MaxMessageSize int    // bytes; 0: not said
}

// parseGreeting reads the answer to CONNECT. Errors: ErrProtocol, *ServerError.
func parseGreeting(kind command, body []byte) (g Greeting, err error) {
	switch kind {
	case cmdConnected:
		err = eachField(body, func(number int, value uint64, data []byte) {
			switch number {
			case 1:
				g.ServerVersion = text(data)
			case 3:
				if value <= 1<<30 {
					g.MaxMessageSize = int(value)
				}
			}
		})
		if err == nil && g.ServerVersion == "" {
			err = ErrProtocol
		}
	case cmdError:
		var a answer
		if a, err = parseAnswer(kind, body); err == nil {
			err = a.err
		}
	default:
		err = ErrProtocol
	}
	if err != nil {
		return Greeting{}, err
	}
	return g, nil
}

// answer is what the broker replied to a request: any of the commands that carry
// a request_id.
type answer struct {
	kind    command
	request uint64
	err     *ServerError // it refused

	lookup       lookupAnswer
	producer     string // PRODUCER_SUCCESS: its name
	lastSequence int64  // PRODUCER_SUCCESS: -1 when nothing is known
	notReady     bool   // PRODUCER_SUCCESS: the producer only waits
	version      []byte // of the schema: PRODUCER_SUCCESS, GET_OR_CREATE_SCHEMA_RESPONSE
}

// lookupAnswer is the body of LOOKUP_RESPONSE.
type lookupAnswer struct {
	url, urlTLS   string
	kind          uint64 // lookupRedirect, lookupConnect
	authoritative bool
	proxy         bool // reach it through the address that was asked
}

const (
	lookupRedirect = 0
	lookupConnect  = 1
	lookupFailed   = 2
)

// parseAnswer reads a reply to a request. It keeps nothing of body. Error:
// ErrProtocol.
func parseAnswer(kind command, body []byte) (answer, error) {
	a := answer{kind: kind, lastSequence: -1}
	var refusal ServerError
	refused := kind == cmdError
	err := eachField(body, func(number int, value uint64, data []byte) {
		switch kind {
		case cmdSuccess:
			if number == 1 {
				a.request = value
			}
		case cmdError:
			switch number {
			case 1:
				a.request = value
			case 2:
				refusal.Code = Code(value & 0xffff)
			case 3:
				refusal.Message = text(data)
			}
		case cmdProducerSuccess:
			a.producerField(number, value, data)
		case cmdLookupAnswer:
			switch number {
			case 3:
				a.lookup.kind = value
				refused = refused || value == lookupFailed
			case 4:
				a.request = value
			case 6:
				refusal.Code, refused = Code(value&0xffff), true
			case 7:
				refusal.Message = text(data)
			default:
				a.lookup.field(number, value, data)
			}
		case cmdSchemaAnswer:
			switch number {
			case 1:
				a.request = value
			case 2:
				refusal.Code, refused = Code(value&0xffff), true
			case 3:
				refusal.Message = text(data)
			case 4:
				a.version = version(data)
			}
		}
	})
	if refused {
		a.err = &refusal
	}
	return a, err
}

func (a *answer) producerField(number int, value uint64, data []byte) {
	switch number {
	case 1:
		a.request = value
	case 2:
		a.producer = text(data)
	case 3:
		a.lastSequence = int64(value)
	case 4:
		a.version = version(data)
	case 6:
		a.notReady = value == 0
	}
}

func (l *lookupAnswer) field(number int, value uint64, data []byte) {
	switch number {
	case 1:
		l.url = text(data)
	case 2:
		l.urlTLS = text(data)
	case 5:
		l.authoritative = value != 0
	case 8:
		l.proxy = value != 0
	}
}

// version copies a schema's version, which is eight bytes, or none.
func version(data []byte) []byte {
	if len(data) != 8 {
		return nil
	}
	return append([]byte(nil), data...)
}

// Receipt says that a batch is stored, and where. Ledger and Entry are -1 when
// the broker took it for a duplicate and has not stored it.
type Receipt struct {
	Producer      uint64
	Sequence      uint64 // of the batch's first message
	Ledger, Entry int64
}

// parseReceipt reads SEND_RECEIPT. Error: ErrProtocol.
func parseReceipt(body []byte) (Receipt, error) {
	r := Receipt{Ledger: -1, Entry: -1}
	var inner error
	err := eachField(body, func(number int, value uint64, data []byte) {
		switch number {
		case 1:
			r.Producer = value
		case 2:
			r.Sequence = value
		case 3:
			inner = eachField(data, func(number int, value uint64, _ []byte) {
				switch number {
				case 1:
					r.Ledger = int64(value)
				case 2:
					r.Entry = int64(value)
				}
			})
		}
	})
	if err == nil {
		err = inner
	}
	return r, err
}

// parseSendError reads SEND_ERROR. Error: ErrProtocol.
func parseSendError(body []byte) (producer uint64, refusal *ServerError, err error) {
	refusal = &ServerError{}
	err = eachField(body, func(number int, value uint64, data []byte) {
		switch number {
		case 1:
			producer = value
		case 3:
			refusal.Code = Code(value & 0xffff)
		case 4:
			refusal.Message = text(data)
		}
	})
	return producer, refusal, err
}

// parseCloseProducer reads CLOSE_PRODUCER. Error: ErrProtocol.
func parseCloseProducer(body []byte) (producer uint64, err error) {
	err = eachField(body, func(number int, value uint64, _ []byte) {
		if number == 1 {
			producer = value
		}
	})
	return producer, err
}
