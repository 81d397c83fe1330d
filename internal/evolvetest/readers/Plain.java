import java.nio.ByteBuffer;
import java.util.List;
import org.apache.avro.reflect.AvroDefault;
import org.apache.avro.reflect.Nullable;
import org.apache.avro.reflect.Union;

/** The events of the quickstart as classes written by hand: the client makes a schema of them. */
final class Plain {
    static class order_event {
        @Union({OrderCancelled.class, OrderPaid.class, OrderPlaced.class, OrderShipped.class})
        Object event;
    }

    static class OrderCancelled {
        String order_id;
        String reason;
        long cancelled_at;
    }

    static class OrderPaid {
        String order_id;
        ByteBuffer amount;
        PaymentMethod method;
        @Nullable @AvroDefault("null") String reference;
        long paid_at;
    }

    enum PaymentMethod { UNKNOWN, CARD, TRANSFER, INVOICE }

    static class OrderPlaced {
        String order_id;
        String customer_id;
        List<OrderLine> lines;
        ByteBuffer total;
        @AvroDefault("\"EUR\"") String currency;
        @Nullable @AvroDefault("null") Address ship_to;
        long placed_at;
    }

    static class OrderLine {
        String sku;
        int quantity;
        ByteBuffer unit_price;
    }

    static class Address {
        String street;
        String city;
        String country;
    }

    static class OrderShipped {
        String order_id;
        String carrier;
        @Nullable @AvroDefault("null") String tracking;
        long shipped_at;
    }
}
