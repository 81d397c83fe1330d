import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/**
 * Reads pairs as lines of JSON, {"reader": "...", "writer": "...", "data": ["hex", ...]}, and prints for each what
 * Avro's library says: {"parser": "", "checker": "COMPATIBLE", "decoder": ""}, where a text that is not empty is an error.
 */
public final class Opinions {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Opinions() {}

  public static void main(String[] arguments) throws Exception {
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = lines.readLine()) != null; ) {
      System.out.println(JSON.writeValueAsString(opinion(JSON.readTree(line))));
    }
  }

  private static ObjectNode opinion(JsonNode pair) {
    ObjectNode said = JSON.createObjectNode().put("parser", "").put("checker", "").put("decoder", "");
    Schema reader;
    Schema writer;
    try {
      reader = new Schema.Parser().parse(pair.get("reader").textValue());
      writer = new Schema.Parser().parse(pair.get("writer").textValue());
    } catch (RuntimeException e) {
      return said.put("parser", e.toString());
    }
    try {
      said.put("checker", SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getType().toString());
    } catch (RuntimeException | StackOverflowError e) {
      said.put("checker", e.toString());
    }
    // Every value must be read; the same decoder for all of them, as an application has it.
    try {
      var datums = new GenericDatumReader<Object>(writer, reader);
      BinaryDecoder decoder = null;
      for (JsonNode data : pair.get("data")) {
        decoder = DecoderFactory.get().binaryDecoder(HexFormat.of().parseHex(data.textValue()), decoder);
        datums.read(null, decoder);
        if (!decoder.isEnd()) {
          throw new IllegalStateException("bytes are left over");
        }
      }
    } catch (Exception | StackOverflowError e) {
      said.put("decoder", e.toString());
    }
    return said;
  }
}
