package broker

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of reaching the broker.
var (
	ErrConfig = fault.Define("PULSAR_CONFIG", fault.Input,
		"the broker's address or credentials are not usable as given",
		"give pulsar.url as pulsar://host:6650 or pulsar+ssl://host:6651, and pulsar.admin_url as http://host:8080 or https://host:8443")
	ErrUnreachable = fault.Define("PULSAR_UNREACHABLE", fault.Environment,
		"the Pulsar broker cannot be reached",
		"check pulsar.url, that the broker runs, and the network between")
	ErrWrongServer = fault.Define("PULSAR_WRONG_SERVER", fault.Environment,
		"what answers at the address is not a Pulsar broker",
		"pulsar.url needs the broker's binary port (6650, with TLS 6651), pulsar.admin_url its web port (8080, with TLS 8443)")
	ErrTLS = fault.Define("PULSAR_TLS", fault.Environment,
		"the TLS connection to the broker failed",
		"check pulsar.ca_file, and that the certificate is valid and names the host")
	ErrUnauthorized = fault.Define("PULSAR_UNAUTHORIZED", fault.Environment,
		"the broker refused the credentials, or the role lacks a permission",
		"check pulsar.token_file; the role needs produce and consume on the namespace")
	ErrAdmin = fault.Define("PULSAR_ADMIN_FAILED", fault.Environment,
		"a request to the broker's admin interface failed",
		"check pulsar.admin_url and the broker's log")
	ErrLost = fault.Define("PULSAR_CONNECTION_LOST", fault.Runtime,
		"the connection to the broker was lost",
		"nothing to do: the run starts over; if it goes on, check the broker and the network")
)

// The faults of a namespace or a topic.
var (
	ErrNamespacePolicy = fault.Define("NAMESPACE_POLICY", fault.Environment,
		"the namespace's policies differ from what exactly-once publishing needs",
		"run with --auto-apply, or set the policies named")
	ErrTopicMissing = fault.Define("TOPIC_MISSING", fault.Environment,
		"the topic or the partition does not exist",
		"create it as a partitioned topic, or run with --auto-apply")
	ErrTopicTerminated = fault.Define("TOPIC_TERMINATED", fault.Runtime,
		"the topic was terminated and accepts no more messages",
		"route the events to another topic, or delete and create the topic again if its content may be lost")
	ErrNotReady = fault.Define("TOPIC_NOT_READY", fault.Runtime,
		"the broker cannot serve the topic at the moment: it starts, moves the topic, or cannot store",
		"nothing to do: the run starts over; if it goes on, check the broker's and the bookies' logs")
	ErrPartitionCount = fault.Define("PARTITION_COUNT", fault.Environment,
		"the topic exists with another number of partitions",
		"the number is fixed for a topic's life: set topics.partitions to the topic's number")
	ErrDeduplicationOff = fault.Define("DEDUPLICATION_OFF", fault.Environment,
		"the broker does not deduplicate the topic's messages, so a reconnect could double them",
		"pulsar-admin namespaces set-deduplication NAMESPACE --enable")
	ErrSchemaMissing = fault.Define("SCHEMA_MISSING", fault.Environment,
		"the schema is not registered for the topic",
		"run with --auto-apply, or register the schema; nothing was published under it")
)

// The faults of publishing.
var (
	ErrHole = fault.Define("TOPIC_HOLE", fault.Runtime,
		"the partition does not hold what was published to it: ordinals or positions are not consecutive",
		"do not skip: inspect the partition at the ids named, then repair from the outbox's retained rows")
	ErrForeignMessage = fault.Define("FOREIGN_MESSAGE", fault.Runtime,
		"the partition holds a message that this pipeline did not publish",
		"find the producer named and take its permission away; Runnel's topics accept its daemon only")
	ErrNotSettled = fault.Define("TOPIC_NOT_SETTLED", fault.Runtime,
		"the partition changed between reading its tail and the first message of this run",
		"nothing to do: the run starts over and reads the tail again; if it goes on, another writer holds the topic")
	ErrNotOwner = fault.Define("PRODUCER_NOT_OWNER", fault.Runtime,
		"another producer holds the partition",
		"stop the other daemon, or wait: this one takes over when the other goes")
	ErrTooLarge = fault.Define("MESSAGE_TOO_LARGE", fault.Runtime,
		"the message is larger than the broker or the topic's policy accepts",
		"raise maxMessageSize of the topic's policy and the broker, or make the event smaller")
	ErrQuota = fault.Define("QUOTA_EXCEEDED", fault.Runtime,
		"the namespace's backlog quota is exhausted, so the broker accepts no messages",
		"let the consumers catch up, delete subscriptions that nobody uses, or raise the backlog quota")
	ErrAckOrder = fault.Define("PULSAR_ACK_ORDER", fault.Runtime,
		"the broker acknowledged messages in another order than they were sent, or without storing them",
		"nothing to do: the run starts over and verifies the partition; if it goes on, check for other writers")
	ErrStopped = fault.Define("SEND_STOPPED", fault.Runtime,
		"the message was not sent, or its outcome is unknown, because the producer stopped",
		"nothing to do: the run starts over and sends what is missing")
	ErrUnreadable = fault.Define("TOPIC_UNREADABLE", fault.Runtime,
		"a message that the broker reports cannot be read",
		"check the broker's log and its bookies; see the entry named with `pulsar-admin topics get-message-by-id`")
)

// Faults lists every fault of this package.
var Faults = []*fault.Code{
	ErrConfig, ErrUnreachable, ErrWrongServer, ErrTLS, ErrUnauthorized, ErrAdmin, ErrLost,
	ErrNamespacePolicy, ErrTopicMissing, ErrTopicTerminated, ErrNotReady, ErrPartitionCount, ErrDeduplicationOff, ErrSchemaMissing,
	ErrHole, ErrForeignMessage, ErrNotSettled, ErrNotOwner, ErrTooLarge, ErrQuota, ErrAckOrder, ErrStopped, ErrUnreadable,
}
