import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.pulsar.client.api.AuthenticationFactory;
import org.apache.pulsar.client.api.ClientBuilder;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Reader;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.GenericRecord;

/**
 * Keeps a copy of the quickstart's orders in a SQLite file, made from the topic alone.
 *
 * <pre>OrderReader COPY TOPIC [--until-idle]</pre>
 *
 * It follows the topic until it is stopped; with --until-idle until it has read what is there, and then prints the
 * copy. The broker is taken from RUNNEL_PULSAR_URL, the files of a token and of the authorities to trust, where there are
 * any, from RUNNEL_PULSAR_TOKEN_FILE and RUNNEL_PULSAR_CA_FILE.
 *
 * However it ends, it may be started again: each event counts once, because the rows and the position that they reach
 * commit in one transaction.
 */
public final class OrderReader {
    private static final int BATCH = 100; // events in a transaction, at most
    private static final int ARRIVAL = 30; // seconds that a message which is there may take to arrive

    /** What a person must look at. The copy is right up to its position. */
    private static final class Stop extends Exception {
        Stop(String why) {
            super(why);
        }
    }

    // --- The copy: a table and a handler for each event type. Yours differ. ------------------------------------------
    //
    // A field that has a default may be gone in a later version of the schema: it is asked for with its default. Others
    // are there in every version.

    private static final String ORDERS = """
            create table if not exists orders (
                id          text    primary key,
                customer_id text    not null,
                status      text    not null,
                lines       integer not null,
                total       text    not null,
                currency    text    not null,
                city        text,
                paid_by     text,
                carrier     text,
                tracking    text,
                reason      text
            )""";

    private static void placed(Connection db, GenericRecord o) throws SQLException {
        GenericRecord shipTo = (GenericRecord) field(o, "ship_to", null);
        execute(db, "insert into orders (id, customer_id, status, lines, total, currency, city) values (?, ?, 'placed', ?, ?, ?, ?)",
                o.getField("order_id"), o.getField("customer_id"), ((List<?>) o.getField("lines")).size(),
                decimal(o.getField("total")).toString(), field(o, "currency", "EUR"), shipTo == null ? null : shipTo.getField("city"));
    }

    private static void paid(Connection db, GenericRecord o) throws SQLException, Stop {
        change(db, "update orders set status = 'paid', paid_by = ? where id = ?", o.getField("method").toString(), o.getField("order_id"));
    }

    private static void shipped(Connection db, GenericRecord o) throws SQLException, Stop {
        change(db, "update orders set status = 'shipped', carrier = ?, tracking = ? where id = ?",
                o.getField("carrier"), field(o, "tracking", null), o.getField("order_id"));
    }

    private static void cancelled(Connection db, GenericRecord o) throws SQLException, Stop {
        change(db, "update orders set status = 'cancelled', reason = ? where id = ?", o.getField("reason"), o.getField("order_id"));
    }

    /** Events of one order come in order, so its OrderPlaced was here before. */
    private static void change(Connection db, String sql, Object... values) throws SQLException, Stop {
        if (execute(db, sql, values) != 1) {
            throw new Stop("the order " + values[values.length - 1] + " is not there");
        }
    }

    /** getField fails for a field that the event was written without. */
    private static Object field(GenericRecord o, String name, Object absent) {
        return o.getFields().stream().anyMatch(f -> f.getName().equals(name)) ? o.getField(name) : absent;
    }

    /** The client gives a decimal as the bytes of its digits; the scale, here 2, is in the event's schema. */
    private static BigDecimal decimal(Object value) {
        ByteBuffer digits = ((ByteBuffer) value).duplicate();
        byte[] bytes = new byte[digits.remaining()];
        digits.get(bytes);
        return new BigDecimal(new BigInteger(bytes), 2);
    }

    private interface Handler {
        void apply(Connection db, GenericRecord event) throws SQLException, Stop;
    }

    private static final Map<String, Handler> HANDLERS = Map.of(
            "OrderPlaced", OrderReader::placed,
            "OrderPaid", OrderReader::paid,
            "OrderShipped", OrderReader::shipped,
            "OrderCancelled", OrderReader::cancelled);

    // --- The reader: positions and the loop. Take it as it is. -------------------------------------------------------

    private static final String POSITIONS = """
            create table if not exists position (
                partition  text    primary key,
                position   text    not null,
                ordinal    integer not null,
                message_id blob    not null
            )""";
    private static final String COUNTS = "create table if not exists counted (what text primary key, n integer not null)";
    private static final Pattern STAMP = Pattern.compile("([0-9a-f]{8}-[0-9a-f]{16}-[0-9a-f]{8})-([0-9a-f]{16})");

    /** A position, as a text that sorts as positions do, and the message's ordinal in its partition. */
    private record Stamp(String position, long ordinal) {
        static Stamp of(Message<?> message) throws Stop {
            String text = message.getProperty("position");
            Matcher found = STAMP.matcher(text == null ? "" : text);
            if (!found.matches()) {
                throw new Stop("message " + message.getMessageId() + " has no position: Runnel did not publish it");
            }
            return new Stamp(found.group(1), Long.parseUnsignedLong(found.group(2), 16));
        }

        /** The gate. Positions rise, and ordinals are dense: each is one more than the last. */
        boolean isNew(Stamp stored) throws Stop {
            int order = position.compareTo(stored.position);
            if (order > 0 && ordinal == stored.ordinal + 1) {
                return true;
            }
            if (equals(stored) || (order < 0 && ordinal < stored.ordinal)) {
                return false;
            }
            if (order > 0 && ordinal > stored.ordinal) {
                throw new Stop("gap: " + (ordinal - stored.ordinal - 1) + " events are missing between ordinal "
                        + stored.ordinal + " and " + ordinal);
            }
            throw new Stop("position " + position + ", ordinal " + ordinal + " is of another history than "
                    + stored.position + ", ordinal " + stored.ordinal);
        }
    }

    private final Connection db;
    private final Map<String, Reader<GenericRecord>> readers = new LinkedHashMap<>(); // by partition

    private OrderReader(Connection db) {
        this.db = db;
    }

    /** Applies messages of a partition, in order, in one transaction: rows and position, or neither. */
    private void apply(String partition, List<Message<GenericRecord>> messages) throws SQLException, Stop {
        int applied = 0, skipped = 0, unknown = 0;
        Stop stop = null;
        Stamp stored = new Stamp("", 0);
        execute(db, "begin immediate"); // waits for another reader of this copy
        try {
            try (PreparedStatement query = db.prepareStatement("select position, ordinal from position where partition = ?")) {
                query.setString(1, partition);
                ResultSet row = query.executeQuery();
                if (row.next()) {
                    stored = new Stamp(row.getString(1), row.getLong(2));
                }
            }
            for (Message<GenericRecord> message : messages) {
                Stamp stamp;
                boolean isNew;
                try {
                    stamp = Stamp.of(message);
                    isNew = stamp.isNew(stored);
                } catch (Stop why) {
                    stop = why; // what came before it is right: keep that
                    break;
                }
                if (!isNew) {
                    skipped++;
                    continue;
                }
                String type = message.getProperty("type");
                Handler handler = type == null ? null : HANDLERS.get(type);
                if (handler != null) {
                    // Decoded here and not before, with the schema that the message was written with.
                    handler.apply(db, (GenericRecord) message.getValue().getField("event"));
                    applied++;
                } else {
                    unknown++;
                }
                stored = stamp;
                execute(db, "insert or replace into position values (?, ?, ?, ?)",
                        partition, stamp.position, stamp.ordinal, message.getMessageId().toByteArray());
            }
            count("applied", applied);
            count("unknown", unknown);
            execute(db, "commit");
        } catch (Exception e) {
            execute(db, "rollback");
            throw e;
        }
        say(partition, applied + " applied, " + skipped + " skipped, " + unknown + " of unknown type, up to ordinal " + stored.ordinal);
        if (stop != null) {
            throw new Stop(partition + ": " + stop.getMessage());
        }
    }

    private void count(String what, int n) throws SQLException {
        execute(db, "insert into counted values (?, ?) on conflict (what) do update set n = n + excluded.n", what, n);
    }

    /** Begins after the stored message. That id only says where to look: what counts is the position. */
    private Reader<GenericRecord> open(PulsarClient client, String partition) throws SQLException, IOException {
        MessageId from = MessageId.earliest;
        long ordinal = 0;
        try (PreparedStatement query = db.prepareStatement("select message_id, ordinal from position where partition = ?")) {
            query.setString(1, partition);
            ResultSet row = query.executeQuery();
            if (row.next()) {
                from = MessageId.fromByteArray(row.getBytes(1));
                ordinal = row.getLong(2);
            }
        }
        say(partition, "begins after ordinal " + ordinal);
        return client.newReader(Schema.AUTO_CONSUME()).topic(partition).startMessageId(from)
                .subscriptionRolePrefix("orders-java").create(); // who that is, in `runnel schemas plan`
    }

    private static PulsarClient connect(String url) throws IOException {
        ClientBuilder client = PulsarClient.builder().serviceUrl(url)
                .enableTlsHostnameVerification(true); // with pulsar+ssl://; off by default
        String tokenFile = System.getenv().getOrDefault("RUNNEL_PULSAR_TOKEN_FILE", "");
        if (!tokenFile.isEmpty()) {
            client.authentication(AuthenticationFactory.token(() -> token(tokenFile)));
        }
        String caFile = System.getenv().getOrDefault("RUNNEL_PULSAR_CA_FILE", "");
        if (!caFile.isEmpty()) {
            client.tlsTrustCertsFilePath(caFile);
        }
        return client.build();
    }

    /** Read again whenever it is asked for: files of tokens are replaced before they expire. */
    private static String token(String file) {
        try {
            return Files.readString(Path.of(file)).strip();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void follow(PulsarClient client, String topic, boolean untilIdle) throws Exception {
        for (String partition : client.getPartitionsForTopic(topic, false).get()) {
            readers.put(partition, open(client, partition));
        }
        while (true) {
            boolean idle = true;
            for (Map.Entry<String, Reader<GenericRecord>> entry : readers.entrySet()) {
                Reader<GenericRecord> reader = entry.getValue();
                List<Message<GenericRecord>> messages = new ArrayList<>();
                while (messages.size() < BATCH && reader.hasMessageAvailable()) {
                    Message<GenericRecord> message = reader.readNext(ARRIVAL, TimeUnit.SECONDS);
                    if (message == null) {
                        throw new IOException(entry.getKey() + ": a message does not arrive");
                    }
                    messages.add(message);
                }
                if (!messages.isEmpty()) {
                    apply(entry.getKey(), messages);
                    idle = false;
                }
            }
            if (idle && untilIdle) {
                return;
            }
            if (idle) {
                Thread.sleep(50);
            }
        }
    }

    /** Prints each order as a JSON array, by id, and what was counted. */
    private void printCopy() throws SQLException {
        try (Statement query = db.createStatement()) {
            ResultSet row = query.executeQuery("""
                    select json_array(id, customer_id, status, lines, total, currency, city, paid_by, carrier, tracking, reason)
                      from orders order by id""");
            while (row.next()) {
                System.out.println(row.getString(1));
            }
            System.out.println(query.executeQuery(
                    "select json_group_object(what, n) from (select * from counted order by what)").getString(1));
        }
    }

    private static int execute(Connection db, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setObject(i + 1, values[i]);
            }
            return statement.executeUpdate();
        }
    }

    private static void say(String partition, String text) {
        System.err.println(partition.substring(partition.lastIndexOf('/') + 1) + ": " + text);
    }

    /**
     * Transactions are begun and ended in SQL: this driver's commit begins the next one at once, which would hold the
     * lock while there is nothing to do.
     */
    private static Connection openCopy(String file) throws SQLException {
        Properties settings = new Properties();
        settings.setProperty("busy_timeout", "30000");
        // No wait for the disk at each commit. Should the machine lose power, the copy may be somewhat older
        // afterwards, and its positions as well: the same events are then read again.
        settings.setProperty("journal_mode", "WAL");
        settings.setProperty("synchronous", "NORMAL");
        Connection db = DriverManager.getConnection("jdbc:sqlite:" + file, settings);
        for (String table : List.of(ORDERS, POSITIONS, COUNTS)) {
            execute(db, table);
        }
        return db;
    }

    public static void main(String[] arguments) throws Exception {
        List<String> names = new ArrayList<>(List.of(arguments));
        boolean untilIdle = names.remove("--until-idle");
        if (names.size() != 2) {
            System.err.println("usage: OrderReader COPY TOPIC [--until-idle]");
            System.exit(2);
        }
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        try (Connection db = openCopy(names.get(0));
                PulsarClient client = connect(System.getenv("RUNNEL_PULSAR_URL"))) {
            OrderReader reader = new OrderReader(db);
            reader.follow(client, names.get(1), untilIdle);
            reader.printCopy();
        } catch (Stop why) {
            System.err.println("stopped: " + why.getMessage());
            System.exit(1);
        }
    }
}
