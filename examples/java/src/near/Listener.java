package near;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** Listens on the primary, and tells the core what it hears. */
final class Listener {
    private static final String[] CHANNELS = {"cache_invalidation", "cache_notify_definition"};
    private static final long FIRST_DELAY = 100;
    private static final long LAST_DELAY = 5_000;
    private static final long PATIENCE = 5_000;

    private final Near.Options options;
    private final Core core;
    private final Thread thread;
    private volatile boolean closed;
    private volatile Connection connection;
    /** What changed before it was asked for. */
    private String position;

    Listener(Near.Options options, Core core) {
        this.options = options;
        this.core = core;
        thread = new Thread(this::run, "cache_notify listener");
        thread.setDaemon(true);
        thread.start();
    }

    void close() {
        closed = true;
        thread.interrupt();
        try (Connection open = connection) {
            thread.join(PATIENCE);
        } catch (SQLException | InterruptedException ending) {
            // it is over either way
        }
        core.lease(System.nanoTime());
    }

    /** Tries again after whatever has happened; until then nothing is served. */
    private void run() {
        long delay = FIRST_DELAY;
        while (!closed) {
            long began = System.nanoTime();
            try {
                listen();
            } catch (Exception whatever) {
                // rule 8: it does not matter which
            }
            core.lease(System.nanoTime());
            if (System.nanoTime() - began > 1_000_000_000L) delay = FIRST_DELAY;
            try {
                Thread.sleep(delay / 2 + ThreadLocalRandom.current().nextLong(delay));
            } catch (InterruptedException ending) {
                return;
            }
            delay = Math.min(2 * delay, LAST_DELAY);
        }
    }

    private Connection connect() throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("ApplicationName", "cache_notify listener");
        properties.setProperty("connectTimeout", "5");
        // A dead network gives no error; no answer is one.
        long seconds = Math.max(1, options.lease().toSeconds());
        if (seconds < 86_400) properties.setProperty("socketTimeout", String.valueOf(seconds));
        return DriverManager.getConnection(options.url(), properties);
    }

    /** Listen, prove that deliveries come in, catch up, and only then serve (rule 9). */
    private void listen() throws SQLException {
        options.listening().accept(false);
        try (Connection db = connect(); Statement statement = db.createStatement()) {
            connection = db;
            try (ResultSet rows = statement.executeQuery("SELECT extversion, pg_is_in_recovery()"
                    + " FROM pg_extension WHERE extname = 'cache_notify'")) {
                if (!rows.next() || !rows.getString(1).startsWith("1.") || rows.getBoolean(2)) {
                    throw new SQLException("no extension that this client knows, or a standby");
                }
            }
            String probe = "cache_notify_" + UUID.randomUUID().toString().replace("-", "");
            for (String channel : CHANNELS) statement.execute("LISTEN " + channel);
            statement.execute("LISTEN " + probe);
            PGConnection notified = db.unwrap(PGConnection.class);
            prove(notified, probe);
            statement.execute("UNLISTEN " + probe);
            core.listenAnew();
            for (boolean first = true; !closed; first = false) {
                catchUp(db, first);
                if (first) options.listening().accept(true);
                receive(notified, System.nanoTime() + options.heartbeat().toNanos(), null);
            }
        }
    }

    /** A pooler takes LISTEN, and swallows what should come of it. */
    private void prove(PGConnection notified, String probe) throws SQLException {
        try (Connection sender = connect(); Statement statement = sender.createStatement()) {
            statement.execute("NOTIFY " + probe);
        }
        if (!receive(notified, System.nanoTime() + Duration.ofMillis(PATIENCE).toNanos(), probe)) {
            throw new SQLException("a notification did not come back: listen over a direct"
                    + " connection, not through a pooler in transaction mode");
        }
    }

    /** Hears what comes until then; whether something came over the channel probe. */
    private boolean receive(PGConnection notified, long until, String probe) throws SQLException {
        for (long left; !closed && (left = (until - System.nanoTime()) / 1_000_000) > 0; ) {
            PGNotification[] came = notified.getNotifications((int) Math.min(left, 3_600_000));
            boolean proved = false;
            for (PGNotification notification : came == null ? new PGNotification[0] : came) {
                if (notification.getName().equals(probe)) proved = true;
                else take(notification.getParameter());
            }
            if (proved) return true;
        }
        return false;
    }

    private void take(String payload) {
        Core.Change change = Core.parse(payload);
        if (change == null) core.reset();
        else hear(change);
    }

    private void hear(Core.Change change) {
        core.hear(change);
        options.heard().accept(change.tenant(), change.domain());
    }

    /**
     * Hears what has changed since the last time; which keys, nobody knows any more. Not what a
     * payload has told, unless some before it may have been lost. An answer is good for a lease.
     */
    private void catchUp(Connection db, boolean first) throws SQLException {
        long asked = System.nanoTime();
        String next;
        try (Statement statement = db.createStatement();
                ResultSet rows = statement.executeQuery("SELECT cache_notify.current_position()")) {
            rows.next();
            next = rows.getString(1);
        }
        if (position == null) {
            core.reset();
        } else {
            try (PreparedStatement statement = db.prepareStatement(
                    "SELECT tenant_id, domain, version FROM cache_notify.changes_since(?)")) {
                statement.setString(1, position);
                try (ResultSet rows = statement.executeQuery()) {
                    while (rows.next()) missed(rows, first);
                }
            }
        }
        position = next;
        if (!closed) core.lease(asked + options.lease().toNanos());
    }

    private void missed(ResultSet rows, boolean first) throws SQLException {
        String tenant = rows.getString(1);
        String domain = rows.getString(2);
        long version = rows.getLong(3);
        if (domain == null || rows.wasNull()) {
            core.reset(); // another history
        } else if (first || version != core.heardVersion(tenant, domain)) {
            hear(new Core.Change(tenant, domain, version, null));
        }
    }
}
