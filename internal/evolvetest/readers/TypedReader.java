import java.lang.reflect.Field;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;
import org.apache.pulsar.client.api.schema.SchemaDefinition;

/**
 * Reads orders into classes, and prints what it makes of each event.
 *
 * <pre>TypedReader CLASS TOPIC SUBSCRIPTION END [nullable]</pre>
 *
 * It ends when it has read as many events as the file END says, once that is there. "nullable" leaves the client's
 * default as it is, by which every field of a class may be null.
 */
final class TypedReader {
    private static final Map<String, List<String>> FIELDS = Map.of(
            "OrderPlaced", List.of("order_id", "lines", "total", "currency", "ship_to"),
            "OrderPaid", List.of("order_id", "method", "reference"),
            "OrderShipped", List.of("order_id", "carrier", "tracking"),
            "OrderCancelled", List.of("order_id", "reason"));

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        read(Class.forName(arguments[0]), arguments[1], arguments[2], Path.of(arguments[3]), arguments.length > 4);
    }

    private static <T> void read(Class<T> of, String topic, String subscription, Path end, boolean nullable) throws Exception {
        Schema<T> schema = Schema.AVRO(SchemaDefinition.<T>builder().withPojo(of).withAlwaysAllowNull(nullable).build());
        Field event = of.getDeclaredField("event");
        event.setAccessible(true);
        try (PulsarClient client = PulsarClient.builder().serviceUrl(System.getenv("RUNNEL_PULSAR_URL")).build();
                Consumer<T> consumer = client.newConsumer(schema).topic(topic).subscriptionName(subscription)
                        .subscriptionType(SubscriptionType.Failover)
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest).subscribe()) {
            System.err.println("subscribed");
            for (long read = 0; !Files.exists(end) || read < Long.parseLong(Files.readString(end).strip());) {
                Message<T> message = consumer.receive(200, TimeUnit.MILLISECONDS);
                if (message == null) {
                    continue;
                }
                read++;
                String type = message.getProperty("type");
                String what;
                try {
                    what = describe(event.get(message.getValue()), FIELDS.get(type));
                } catch (RuntimeException e) {
                    Throwable cause = e;
                    while (cause.getCause() != null) {
                        cause = cause.getCause();
                    }
                    what = e.getClass().getSimpleName() + ": " + cause.getMessage();
                }
                System.out.println(message.getProperty("id") + " " + type + " " + what);
                consumer.acknowledge(message);
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
