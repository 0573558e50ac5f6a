/*
 * Relay.java: Debezium's engine between PostgreSQL and Redis. It reads the
 * messages of cache_notify's WAL lane and appends each payload to a Redis
 * stream, in commit order, every one at least once.
 *
 * Whenever it cannot know that nothing was missed, it appends a reset, and the
 * caches start anew: the slot is gone or has lost WAL, the server is another one
 * or went through a failover, Redis has forgotten.
 *
 * usage: Relay PROPERTIES REDIS_SOCKET STREAM, with PGHOST (a directory), PGPORT,
 * PGUSER and PGDATABASE leading to the server.
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.File;
import java.io.FileReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.newsclub.net.unix.AFUNIXSocket;
import org.newsclub.net.unix.AFUNIXSocketAddress;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Transaction;
import redis.clients.jedis.params.XAddParams;

public class Relay {
    private static final String SOCKET_FACTORY =
        "org.newsclub.net.unix.AFUNIXSocketFactory$FactoryArg";
    private static final String RESET = "{\"reset\": true}";

    /* A cache that has fallen behind by this many starts anew. */
    private static final long STREAM_LENGTH = 100_000;

    private static final ObjectMapper json = new ObjectMapper();

    private final Jedis redis;
    private final String stream;

    private Relay(String redisSocket, String stream) {
        this.redis = new Jedis(
            () -> {
                try {
                    return AFUNIXSocket.connectTo(AFUNIXSocketAddress.of(new File(redisSocket)));
                } catch (java.io.IOException e) {
                    throw new redis.clients.jedis.exceptions.JedisConnectionException(e);
                }
            },
            DefaultJedisClientConfig.builder().build());
        this.stream = stream;
    }

    private static XAddParams append() {
        return XAddParams.xAddParams().maxLen(STREAM_LENGTH).approximateTrimming();
    }

    /*
     * Make sure that the slot is there, and that it continues the history that
     * the stream tells. If not, a reset comes first. The slot is made before
     * the reset is sent: what commits in between is told twice, not never.
     */
    private void takeUp(Connection server, String slot) throws SQLException {
        boolean usable;
        String history;

        try (Statement statement = server.createStatement()) {
            statement.execute("SELECT pg_drop_replication_slot(slot_name)"
                + " FROM pg_replication_slots"
                + " WHERE slot_name = '" + slot + "' AND wal_status = 'lost'");
            usable = statement.executeQuery("SELECT FROM pg_replication_slots"
                + " WHERE slot_name = '" + slot + "'").next();
            if (!usable) {
                statement.execute(
                    "SELECT pg_create_logical_replication_slot('" + slot + "', 'pgoutput')");
            }
            ResultSet row = statement.executeQuery("SELECT system_identifier || '/'"
                + " || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()");
            row.next();
            history = row.getString(1);
        }
        if (!usable || !history.equals(redis.get(stream + ":history"))) {
            Transaction transaction = redis.multi();
            transaction.xadd(stream, append(), Map.of("payload", RESET));
            transaction.set(stream + ":history", history);
            transaction.exec();
        }
    }

    private void forward(
            List<ChangeEvent<String, String>> events,
            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
            throws InterruptedException {
        for (ChangeEvent<String, String> event : events) {
            try {
                JsonNode content = json.readTree(event.value()).at("/message/content");
                if (!content.isMissingNode()) { // else a heartbeat
                    String payload = new String(content.binaryValue(), StandardCharsets.UTF_8);
                    redis.xadd(stream, append(), Map.of("payload", payload));
                }
            } catch (java.io.IOException e) {
                throw new IllegalStateException("not an event of Debezium: " + event.value(), e);
            }
            committer.markProcessed(event);
        }
        committer.markBatchFinished();
    }

    /* What a file of properties says, and where the server is. */
    static Properties connector(String path, Map<String, String> env)
            throws java.io.IOException {
        Properties connector = new Properties();
        try (FileReader file = new FileReader(path, StandardCharsets.UTF_8)) {
            connector.load(file);
        }
        connector.setProperty("database.hostname", "localhost");
        connector.setProperty("database.port", env.get("PGPORT"));
        connector.setProperty("database.dbname", env.get("PGDATABASE"));
        connector.setProperty("database.user", env.get("PGUSER"));
        connector.setProperty("driver.socketFactory", SOCKET_FACTORY);
        connector.setProperty("driver.socketFactoryArg",
            env.get("PGHOST") + "/.s.PGSQL." + env.get("PGPORT"));
        connector.setProperty("converter.schemas.enable", "false");
        return connector;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> env = System.getenv();
        Properties connector = connector(arguments[0], env);
        Properties session = new Properties();
        session.setProperty("user", env.get("PGUSER"));
        session.setProperty("socketFactory", SOCKET_FACTORY);
        session.setProperty("socketFactoryArg", connector.getProperty("driver.socketFactoryArg"));
        Relay relay = new Relay(arguments[1], arguments[2]);
        try (Connection server = DriverManager.getConnection(
                "jdbc:postgresql://localhost/" + env.get("PGDATABASE"), session)) {
            relay.takeUp(server, connector.getProperty("slot.name"));
        }

        /* It ends when anything fails; whoever started it starts it again. */
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
            .using(connector)
            .notifying(relay::forward)
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
