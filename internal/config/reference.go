package config

// Setting describes one key of the configuration, for the reference.
type Setting struct {
	Key     string
	Form    string // what to write
	Default string // "" if there is none
	Env     string
	Flag    string // with --; "" if there is none
	Secret  bool   // refused in the file
	About   string // sentences
}

// Reference describes all keys in the order of `config show`.
func Reference() []Setting {
	c := new(Config)
	all := make([]Setting, len(settings))
	for i, s := range settings {
		all[i] = Setting{
			Key: s.key, Form: s.field(c).want(), Default: s.def, Env: s.env(),
			Secret: s.envOnly, About: about[s.key],
		}
		if s.flag != "" {
			all[i].Flag = "--" + s.flag
		}
	}
	return all
}

// about says what each key is for.
var about = map[string]string{
	"name": "The pipeline's name. It is part of the names of slot and producers, so it is for life. " +
		"Default: the database's name.",
	"schemas": "The folder of .avsc files: the catalog of events. A relative path counts from the configuration file.",
	"postgres.url": "The source database. `runnel run` logs in as a member of the daemon's role; TLS as libpq has it " +
		"(`sslmode=verify-full&sslrootcert=…`).",
	"postgres.password_file": "A file that holds the password, alone on its line. It is read at every connection.",
	"postgres.password":      "The password, from the environment only.",
	"pulsar.url":             "The broker's binary address. With pulsar+ssl:// certificate and host name are verified.",
	"pulsar.admin_url": "The broker's admin address: schemas, policies and the state of topics are asked for there. " +
		"With https:// certificate and host name are verified.",
	"pulsar.token_file": "A file that holds the token to authenticate with. It is read again when it changes.",
	"pulsar.ca_file":    "The certificate authorities to trust for both addresses, in PEM. Default: the system's.",
	"capture.slot":      "The replication slot. Default: runnel_ and the pipeline's name.",
	"capture.poison": "What to do with an event that cannot be published: stop halts the pipeline at it; park puts it, and the later " +
		"events of its aggregate, into the pipeline's dead-letter topic, and goes on with the others.",
	"capture.parked_limit": "How many events may be parked. The pipeline halts at one more.",
	"capture.in_flight": "How many bytes of events may be on their way to the broker, each event counted with twice its " +
		"payload and 512 bytes. It bounds the daemon's memory: less than 128 MiB with the default, or as GOMEMLIMIT or the control group says.",
	"capture.stall": "If the broker acknowledges nothing for so long while something is in flight, the run starts over.",
	"outbox.retention": "Partitions of the outbox are dropped when they are older, and wholly published. " +
		"Rows that are still there are what a lost slot is repaired from.",
	"roles.owner":      "The role that owns the schema runnel. `runnel init` makes it.",
	"roles.writer":     "The role whose members may publish.",
	"roles.daemon":     "The role whose members may run the daemon.",
	"topics.namespace": "Runnel's own namespace in Pulsar; its policies are set on it.",
	"topics.partitions": "The number of partitions of new topics. A topic's number is for life, because a key's events " +
		"must stay in one partition.",
	"topics.retention": "How long Pulsar keeps events. It must exceed the longest time that the daemon or a consumer may " +
		"be away; a copy is rebuilt from what is kept.",
	"topics.compression": "How batches of messages are compressed where that makes them smaller, on their way and in Pulsar: lz4, " +
		"which every client reads, or none.",
	"topics.foreign": "Messages in Runnel's topics that somebody else published, and that the daemon is to pass over for good: " +
		"as FOREIGN_MESSAGE names them, separated by commas.",
	"routes": "Which topic an event goes to: the first rule that matches decides. Without a match the topic is the " +
		"aggregate type. Globs as in `*`, `?` and `[a-z]`.",
	"http":       "Where the daemon serves /healthz, /readyz, /status and /metrics. If the port is taken, a free one is used and logged.",
	"log.level":  "The least level that is logged.",
	"log.format": "auto is text on a terminal and JSON otherwise.",
}
