import java.io.File;
import org.apache.avro.compiler.specific.SpecificCompiler;

/** Makes classes of a schema, as avro-maven-plugin does: Generate SCHEMA FOLDER. */
final class Generate {
    public static void main(String[] arguments) throws Exception {
        SpecificCompiler.compileSchema(new File(arguments[0]), new File(arguments[1]));
    }
}
