package broker

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of reaching the broker.
var (
	ErrConfig = fault.Define("PULSAR_CONFIG", fault.Input,
		"The broker's address or credentials are not usable as given.",
		"Give pulsar.url as pulsar://host:6650 or pulsar+ssl://host:6651, and pulsar.admin_url as http://host:8080 or https://host:8443.")
	ErrUnreachable = fault.Define("PULSAR_UNREACHABLE", fault.Environment,
		"The Pulsar broker cannot be reached.",
		"Check pulsar.url, that the broker runs, and the network between.")
	ErrWrongServer = fault.Define("PULSAR_WRONG_SERVER", fault.Environment,
		"What answers at the address is not a Pulsar broker.",
		"Give pulsar.url the broker's binary port (6650, with TLS 6651), and pulsar.admin_url its web port (8080, with TLS 8443).")
	ErrTLS = fault.Define("PULSAR_TLS", fault.Environment,
		"The TLS connection to the broker failed.",
		"Check pulsar.ca_file, and that the certificate is valid and names the host; no restart is needed.")
	ErrUnauthorized = fault.Define("PULSAR_UNAUTHORIZED", fault.Environment,
		"The broker does not take the token: it is missing, has expired, or was signed with a key that the broker does not know.",
		"Write a valid token into the file of pulsar.token_file; it is read again by itself.")
	ErrForbidden = fault.Define("PULSAR_FORBIDDEN", fault.Environment,
		"The broker knows the token's role, which lacks a permission.",
		"Have the tenant's administrator grant it: `runnel doctor --check broker-grants` prints the commands for each duty.")
	ErrTokenFile = fault.Define("PULSAR_TOKEN_FILE", fault.Environment,
		"The file of pulsar.token_file cannot be read, or does not hold a token.",
		"Write the token into it, in one line, readable for the user that runs Runnel; it is read again by itself.")
	ErrAdmin = fault.Define("PULSAR_ADMIN_FAILED", fault.Environment,
		"A request to the broker's admin interface failed.",
		"Check pulsar.admin_url and the broker's log.")
	ErrLost = fault.Define("PULSAR_CONNECTION_LOST", fault.Runtime,
		"The connection to the broker was lost.",
		"The daemon starts over by itself; give a command anew. If it goes on, check the broker and the network.")
)

// The faults of a namespace or a topic.
var (
	ErrNamespacePolicy = fault.Define("NAMESPACE_POLICY", fault.Environment,
		"The namespace's policies differ from what exactly-once publishing needs.",
		"Run `runnel schemas plan`, then `runnel schemas apply`; or set the policies named.")
	ErrTopicMissing = fault.Define("TOPIC_MISSING", fault.Environment,
		"The topic or the partition does not exist.",
		"Run `runnel schemas plan`, then `runnel schemas apply`; or create it as a partitioned topic.")
	ErrTopicTerminated = fault.Define("TOPIC_TERMINATED", fault.Runtime,
		"The partition was terminated and accepts no more messages.",
		"It can't be opened again, nor can other routes lead past it: what was on its way to it when it ended belongs there. Delete that partition alone (`pulsar-admin topics delete` with the name that the message has), and do as TOPIC_TRUNCATED says then: it goes on behind what is lost; copies that have read it are not affected.")
	ErrNotReady = fault.Define("TOPIC_NOT_READY", fault.Runtime,
		"The broker cannot serve the topic at the moment: it starts, moves the topic, or cannot store.",
		"The daemon starts over by itself; give a command anew. If it goes on, check the broker's and the bookies' logs.")
	ErrPartitionCount = fault.Define("PARTITION_COUNT", fault.Environment,
		"The topic exists with another number of partitions.",
		"The number is fixed for a topic's life. Of one that was published to, find out who deleted it and made it anew; of another, set topics.partitions to the topic's number.")
	ErrDeduplicationOff = fault.Define("DEDUPLICATION_OFF", fault.Environment,
		"The broker does not deduplicate the topic's messages, so a reconnect could double them.",
		"Run `pulsar-admin namespaces set-deduplication NAMESPACE --enable`.")
	ErrSchemaMissing = fault.Define("SCHEMA_MISSING", fault.Environment,
		"The schema is not registered for the topic.",
		"Run `runnel schemas plan`, then `runnel schemas apply`; nothing was published under it.")
)

// The faults of publishing.
var (
	ErrHole = fault.Define("TOPIC_HOLE", fault.Runtime,
		"The partition does not hold what was published to it: ordinals or positions are not consecutive.",
		"Do not skip: inspect the partition at the ids named, then repair from the outbox's retained rows.")
	ErrForeignMessage = fault.Define("FOREIGN_MESSAGE", fault.Runtime,
		"The partition holds a message that this pipeline did not publish.",
		"Take the permission of the producer named away, so that there are no more. Then list the message, as it is named here, in topics.foreign, and in the configuration of the projections that read the topic: it is passed over, for good.")
	ErrNotSettled = fault.Define("TOPIC_NOT_SETTLED", fault.Runtime,
		"The partition changed between reading its tail and the first message of this run.",
		"Nothing to do: the run starts over and reads the tail again; if it goes on, another writer holds the topic.")
	ErrLedgerOpen = fault.Define("TOPIC_LEDGER_OPEN", fault.Runtime,
		"The broker has given up the partition's last ledger without closing it, as happens when bookies and the metadata service fail together. What it has told to be lost may come back, so nothing is sent before that is decided; the daemon may not unload the partition, which would do it.",
		"Unload it, once bookies and metadata service are well: `pulsar-admin topics unload` with the partition's name. The daemon goes on by itself. The tenant's administrator may do it.")
	ErrNotOwner = fault.Define("PRODUCER_NOT_OWNER", fault.Runtime,
		"Another producer holds the partition.",
		"Stop the other daemon, or wait: this one takes over when the other goes.")
	ErrTooLarge = fault.Define("MESSAGE_TOO_LARGE", fault.Runtime,
		"The message is larger than the broker or the topic's policy accepts.",
		"Raise maxMessageSize of the topic's policy and the broker, or make the event smaller.")
	ErrQuota = fault.Define("QUOTA_EXCEEDED", fault.Runtime,
		"The namespace's backlog quota is exhausted, so the broker accepts no messages.",
		"Let the consumers catch up, delete subscriptions that nobody uses, or raise the backlog quota.")
	ErrAckOrder = fault.Define("PULSAR_ACK_ORDER", fault.Runtime,
		"The broker acknowledged messages in another order than they were sent, or without storing them.",
		"Nothing to do: the run starts over and verifies the partition; if it goes on, check for other writers.")
	ErrStopped = fault.Define("SEND_STOPPED", fault.Runtime,
		"The message was not sent, or its outcome is unknown, because the producer stopped.",
		"Nothing to do: the run starts over and sends what is missing.")
	ErrUnreadable = fault.Define("TOPIC_UNREADABLE", fault.Runtime,
		"A message that the broker reports cannot be read.",
		"Check the broker's log and its bookies; see the entry named with `pulsar-admin topics get-message-by-id`.")
)

// Faults lists every fault of this package.
var Faults = []*fault.Code{
	ErrConfig, ErrUnreachable, ErrWrongServer, ErrTLS, ErrUnauthorized, ErrForbidden, ErrTokenFile, ErrAdmin, ErrLost,
	ErrNamespacePolicy, ErrTopicMissing, ErrTopicTerminated, ErrNotReady, ErrPartitionCount, ErrDeduplicationOff, ErrSchemaMissing,
	ErrHole, ErrForeignMessage, ErrNotSettled, ErrLedgerOpen, ErrNotOwner, ErrTooLarge, ErrQuota, ErrAckOrder, ErrStopped, ErrUnreadable,
}
