package wire

import "encoding/binary"

// command is BaseCommand.Type of (proto), and the number of the field that holds
// the command's body.
type command int

const (
	cmdConnect         command = 2
	cmdConnected       command = 3
	cmdProducer        command = 5
	cmdSend            command = 6
	cmdSendReceipt     command = 7
	cmdSendError       command = 8
	cmdSuccess         command = 13
	cmdError           command = 14
	cmdCloseProducer   command = 15
	cmdProducerSuccess command = 17
	cmdPing            command = 18
	cmdPong            command = 19
	cmdLookup          command = 23
	cmdLookupAnswer    command = 24
	cmdAuthChallenge   command = 36
	cmdAuthResponse    command = 37
	cmdSchema          command = 39 // GET_OR_CREATE_SCHEMA
	cmdSchemaAnswer    command = 40
)

const (
	// protocolVersion 19 knows all that is used here, and does not yet have the
	// broker send producers to another cluster (TOPIC_MIGRATED, 20).
	protocolVersion = 19

	modeShared    = 0 // ProducerAccessMode of (proto)
	modeExclusive = 1

	schemaAvro = 4 // Schema.Type of (proto)
)

// appendFrame appends a frame that holds a command alone: total size, size of
// the command, command (spec, "Framing").
func appendFrame(dst []byte, c command, body []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = appendUint(dst, 1, uint64(c))
	dst = appendBytes(dst, int(c), body)
	size := uint32(len(dst) - at - 4)
	binary.BigEndian.PutUint32(dst[at:], size)
	binary.BigEndian.PutUint32(dst[at+4:], size-4)
	return dst
}

// appendConnect appends CONNECT. token may be empty; proxyTo is the broker that
// a proxy is to lead to, "" without one.
func appendConnect(dst []byte, name, token, proxyTo string) []byte {
	body := appendBytes(nil, 1, name) // client_version
	if token != "" {
		body = appendBytes(body, 3, token)   // auth_data
		body = appendBytes(body, 5, "token") // auth_method_name
	}
	body = appendUint(body, 4, protocolVersion)
	if proxyTo != "" {
		body = appendBytes(body, 6, proxyTo) // proxy_to_broker_url
	}
	// feature_flags: supports_auth_refresh, or the broker closes the connection
	// when the token expires instead of asking for another.
	body = appendBytes(body, 10, appendUint(nil, 1, 1))
	return appendFrame(dst, cmdConnect, body)
}

func appendAuthResponse(dst []byte, name, token string) []byte {
	data := appendBytes(nil, 1, "token") // auth_method_name
	data = appendBytes(data, 2, token)   // auth_data
	body := appendBytes(nil, 1, name)    // client_version
	body = appendBytes(body, 2, data)    // response
	body = appendUint(body, 3, protocolVersion)
	return appendFrame(dst, cmdAuthResponse, body)
}

func appendLookup(dst []byte, request uint64, topic string, authoritative bool) []byte {
	body := appendBytes(nil, 1, topic)
	body = appendUint(body, 2, request)
	if authoritative {
		body = appendUint(body, 3, 1)
	}
	return appendFrame(dst, cmdLookup, body)
}

func appendProducer(dst []byte, request, id uint64, r *ProducerRequest) []byte {
	body := appendBytes(nil, 1, r.Topic)
	body = appendUint(body, 2, id)
	body = appendUint(body, 3, request)
	if r.Name != "" {
		body = appendBytes(body, 4, r.Name)
	} else {
		body = appendUint(body, 9, 0) // user_provided_producer_name
	}
	if r.Schema != nil {
		body = appendBytes(body, 7, appendSchema(nil, r.Schema))
	}
	mode := uint64(modeExclusive)
	if r.Shared {
		mode = modeShared
	}
	return appendFrame(dst, cmdProducer, appendUint(body, 10, mode)) // producer_access_mode
}

func appendCloseProducer(dst []byte, request, id uint64) []byte {
	return appendFrame(dst, cmdCloseProducer, appendUint(appendUint(nil, 1, id), 2, request))
}

func appendGetOrCreateSchema(dst []byte, request uint64, topic string, s *Schema) []byte {
	body := appendUint(nil, 1, request)
	body = appendBytes(body, 2, topic)
	return appendFrame(dst, cmdSchema, appendBytes(body, 3, appendSchema(nil, s)))
}

func appendSchema(dst []byte, s *Schema) []byte {
	dst = appendBytes(dst, 1, s.Name)
	dst = appendBytes(dst, 3, s.JSON)     // schema_data
	return appendUint(dst, 4, schemaAvro) // type
}
