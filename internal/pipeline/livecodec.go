package pipeline

import (
	"errors"

	"github.com/runnel-cdc/runnel/schemas"
)

// liveCodec is a topic's codec that looks into the registry when it meets an event
// that it cannot encode: `schemas apply`, in another process, registers a version
// before it lets writers publish under it. So a new version of an event, or a new
// event of a topic, is published without a pause.
//
// The loop waits for the registry meanwhile: what comes later must not pass. An event
// that cannot be encoded even then is poison, so the registry is asked once for each.
// An event that could be encoded before goes out in the same bytes after, as a branch
// keeps its place and a version its fingerprint; in JSON it goes out under the newest
// version known.
type liveCodec struct {
	known *schemas.TopicCodec
	// read returns the codec of all versions that the registry holds now.
	read func() (*schemas.TopicCodec, error)
}

// AppendAvro implements router.Codec.
func (c *liveCodec) AppendAvro(dst []byte, eventType string, fp schemas.Fingerprint, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	out, t, err := c.known.AppendAvro(dst, eventType, fp, payload)
	if err == nil || !mayBeNewer(err) {
		return out, t, err
	}
	if err := c.again(); err != nil {
		return dst, nil, err
	}
	return c.known.AppendAvro(dst, eventType, fp, payload)
}

// AppendJSON implements router.Codec.
func (c *liveCodec) AppendJSON(dst []byte, eventType string, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	out, t, err := c.known.AppendJSON(dst, eventType, payload)
	if err == nil || !mayBeNewer(err) {
		return out, t, err
	}
	if err := c.again(); err != nil {
		return dst, nil, err
	}
	return c.known.AppendJSON(dst, eventType, payload)
}

// mayBeNewer reports whether an event may be of a version that is not known here.
// JSON does not tell its version; it does not fit instead.
func mayBeNewer(err error) bool {
	return errors.Is(err, schemas.ErrUnknownEvent) || errors.Is(err, schemas.ErrUnknownFingerprint) || errors.Is(err, schemas.ErrInvalidJSON)
}

func (c *liveCodec) again() error {
	codec, err := c.read()
	if err == nil {
		c.known = codec
	}
	return err
}
