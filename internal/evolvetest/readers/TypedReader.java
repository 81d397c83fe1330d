import java.lang.reflect.Field;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.client.api.schema.SchemaDefinition;

/**
 * Reads orders into classes, and prints what it makes of each event, once: what a subscription delivers again is known
 * by its position.
 *
 * <pre>TypedReader CLASS TOPIC SUBSCRIPTION END [nullable]</pre>
 *
 * It ends when it has read as many events as the file END says, once that is there. "nullable" leaves the client's
 * default as it is, by which every field of a class may be null. With "names" in place of CLASS it reads without classes,
 * and asks for one field of each event by its name.
 */
final class TypedReader {
    private static final Map<String, List<String>> FIELDS = Map.of(
            "OrderPlaced", List.of("order_id", "lines", "total", "currency", "ship_to"),
            "OrderPaid", List.of("order_id", "method", "reference"),
            "OrderShipped", List.of("order_id", "carrier", "tracking"),
            "OrderCancelled", List.of("order_id", "reason"));

    private static final Map<String, String> NAMES = Map.of("OrderPaid", "method", "OrderShipped", "tracking");

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        String topic = arguments[1], subscription = arguments[2];
        Path end = Path.of(arguments[3]);
        if (arguments[0].equals("names")) {
            read(Schema.AUTO_CONSUME(), TypedReader::byName, topic, subscription, end);
        } else {
            readClass(Class.forName(arguments[0]), topic, subscription, end, arguments.length > 4);
        }
    }

    private static <T> void readClass(Class<T> of, String topic, String subscription, Path end, boolean nullable) throws Exception {
        Schema<T> schema = Schema.AVRO(SchemaDefinition.<T>builder().withPojo(of).withAlwaysAllowNull(nullable).build());
        Field event = of.getDeclaredField("event");
        event.setAccessible(true);
        read(schema, message -> made(event, message, FIELDS.get(message.getProperty("type"))), topic, subscription, end);
    }

    private interface Describer<T> {
        String of(Message<T> message) throws Exception;
    }

    private static String byName(Message<GenericRecord> message) {
        String name = NAMES.get(message.getProperty("type"));
        if (name == null) {
            return "passed over";
        }
        try {
            return String.valueOf(((GenericRecord) message.getValue().getField("event")).getField(name));
        } catch (RuntimeException e) { // the client has an Avro of its own
            if (!e.getClass().getSimpleName().equals("AvroRuntimeException")) {
                throw e;
            }
            return e.getMessage();
        }
    }

    private static <T> void read(Schema<T> schema, Describer<T> describer, String topic, String subscription, Path end) throws Exception {
        try (PulsarClient client = PulsarClient.builder().serviceUrl(System.getenv("RUNNEL_PULSAR_URL")).build();
                Consumer<T> consumer = client.newConsumer(schema).topic(topic).subscriptionName(subscription)
                        .subscriptionType(SubscriptionType.Failover)
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest).subscribe()) {
            Map<String, String> positions = new HashMap<>(); // by partition
            for (long read = 0; !Files.exists(end) || read < Long.parseLong(Files.readString(end).strip());) {
                Message<T> message = consumer.receive(200, TimeUnit.MILLISECONDS);
                if (message == null) {
                    continue;
                }
                String position = message.getProperty("position");
                if (position.compareTo(positions.getOrDefault(message.getTopicName(), "")) > 0) {
                    read++;
                    positions.put(message.getTopicName(), position);
                    String type = message.getProperty("type");
                    System.out.println(message.getProperty("id") + " " + type + " " + describer.of(message));
                }
                consumer.acknowledge(message);
            }
        }
    }

    private static <T> String made(Field event, Message<T> message, List<String> fields) throws Exception {
        while (true) {
            try {
                return describe(event.get(message.getValue()), fields);
            } catch (RuntimeException e) {
                Throwable cause = e;
                while (cause.getCause() != null) {
                    cause = cause.getCause();
                }
                if (cause.getClass().getSimpleName().equals("AvroTypeException")) {
                    return e.getClass().getSimpleName() + ": " + cause.getMessage();
                }
                System.err.println(e); // the schema's version could not be fetched
                TimeUnit.MILLISECONDS.sleep(100);
            }
        }
    }

    private static String describe(Object event, List<String> fields) throws ReflectiveOperationException {
        StringBuilder text = new StringBuilder(event.getClass().getSimpleName());
        for (String name : fields) {
            Object value = get(event, name);
            if (value instanceof List<?> list) {
                value = list.size();
            } else if (value instanceof ByteBuffer digits) {
                byte[] bytes = new byte[digits.remaining()];
                digits.duplicate().get(bytes);
                value = new BigInteger(bytes);
            } else if (name.equals("ship_to") && value != null) {
                value = get(value, "city");
            }
            text.append('|').append(value);
        }
        return text.toString();
    }

    private static Object get(Object from, String name) throws ReflectiveOperationException {
        Field field = from.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field.get(from);
    }
}
