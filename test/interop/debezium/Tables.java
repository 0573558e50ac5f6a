/*
 * Tables.java: Debezium's engine as one has it who copies tables elsewhere, with its
 * defaults: it makes a publication of all tables, reads these, and follows the stream.
 * Writes a line for each event to standard output: the schema and the table, or
 * "message" and its prefix.
 *
 * usage: Tables PROPERTIES, with PGHOST and the like as for Relay.
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;

public class Tables {
    private static final ObjectMapper json = new ObjectMapper();

    private static void print(ChangeEvent<String, String> event) {
        if (event.value() == null) { // what follows a DELETE
            return;
        }
        try {
            JsonNode value = json.readTree(event.value());
            JsonNode prefix = value.at("/message/prefix");
            JsonNode table = value.at("/source/table");
            if (!prefix.isMissingNode()) {
                System.out.println("message " + prefix.asText());
            } else if (!table.isMissingNode()) {
                System.out.println(value.at("/source/schema").asText() + " " + table.asText());
            }
            System.out.flush();
        } catch (java.io.IOException e) {
            throw new IllegalStateException("not an event of Debezium: " + event.value(), e);
        }
    }

    public static void main(String[] arguments) throws Exception {
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
            .using(Relay.connector(arguments[0], System.getenv()))
            .notifying(Tables::print)
            .using((success, message, error) -> {
                System.err.println(message);
                if (error != null) {
                    error.printStackTrace();
                }
                System.exit(success ? 0 : 1);
            })
            .build();
        engine.run();
    }
}
