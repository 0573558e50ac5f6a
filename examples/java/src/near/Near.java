package near;

import java.sql.Array;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.TransactionState;

/**
 * A small near cache for results of PostgreSQL queries that cache_notify invalidates: what a
 * client in another language must do, in as few lines as that takes. README.md has the rules
 * as a checklist; the numbers here are of that list. Safe for use by many threads.
 */
public final class Near implements AutoCloseable {
    /**
     * url: the primary, over a direct connection. heard and listening are told what goes on.
     * storesAnything takes rule 4 out, to show that a test notices.
     */
    public record Options(String url, Duration ttl, long maxEntries, Duration heartbeat, Duration lease,
            BiConsumer<String, String> heard, Consumer<Boolean> listening, boolean storesAnything) {
        public Options(String url) {
            this(url, Duration.ofMinutes(5), 10_000, Duration.ofSeconds(1), Duration.ofSeconds(5),
                    (tenant, domain) -> { }, caughtUp -> { }, false);
        }
    }

    /** Runs the queries of a result. */
    @FunctionalInterface
    public interface Load<T> {
        T run(Connection db) throws SQLException;
    }

    /** Makes a result of rows. */
    @FunctionalInterface
    public interface Scan<T> {
        T read(ResultSet rows) throws SQLException;
    }

    private record Flight(Core.Ticket ticket, CompletableFuture<Filled> over) {}

    /** usable: may be given to others. */
    private record Filled(Object value, boolean usable) {}

    /** One statement, so token and versions are of one snapshot. */
    private static final String ASK = """
            SELECT cache_notify.token(a.tenant, VARIADIC a.names), pg_is_in_recovery(),
                v.tenant_id, v.domain, v.key, v.version, v.shared_version, v.known
            FROM (SELECT ?::text AS tenant, ?::text[] AS names) a,
                cache_notify.near_versions(a.tenant, VARIADIC a.names) v""";

    private static final String DEPENDENCIES = """
            SELECT d.certainty IN ('exact', 'definition'),
                CASE d.certainty WHEN 'definition' THEN d.domain ELSE cache_notify.key_name(d.domain) END
            FROM cache_notify.domains_of(?) d""";

    private final Core core;
    private final Listener listener;
    private final ConcurrentHashMap<String, Flight> flights = new ConcurrentHashMap<>();
    private final ThreadLocal<Integer> within = ThreadLocal.withInitial(() -> 0);

    public Near(Options options) {
        core = new Core(options.maxEntries, options.ttl, options.storesAnything);
        listener = new Listener(options, core);
    }

    @Override
    public void close() {
        listener.close();
    }

    /** Whether memory would serve a result that get() is asked for. */
    public boolean holds(String name, List<String> reads, String tenant) {
        return core.find(Core.name(name, reads, tenant)) != null;
    }

    /**
     * The result of load, from memory if that is as good. name tells results with the same reads
     * and tenant apart. reads: the domains that load reads, or keys of them. tenant null: of all
     * tenants. fresh: nothing older than this call.
     */
    public <T> T get(Connection db, String name, List<String> reads, String tenant, boolean fresh,
            Load<T> load) throws SQLException {
        return get(db, name, reads, tenant, fresh, core.ticket(), load);
    }

    @SuppressWarnings("unchecked")
    private <T> T get(Connection db, String name, List<String> reads, String tenant, boolean fresh,
            Core.Ticket began, Load<T> load) throws SQLException {
        // Rule 6: a transaction sees its own writes, or an old snapshot. It gets no cache at all.
        if (db.unwrap(BaseConnection.class).getTransactionState() != TransactionState.IDLE
                || !db.getAutoCommit()) return load.run(db);
        String entryName = Core.name(name, reads, tenant);
        // Rule 7: a part of another result must be as new as its versions. From the server it is.
        if (fresh || within.get() > 0) return (T) fill(db, entryName, reads, tenant, began, load).value;
        Core.Entry held = core.find(entryName);
        if (held != null) return (T) held.value();
        Flight other = flights.get(entryName);
        if (other != null && other.ticket.equals(core.ticket())) {
            // Rule 5: nothing was heard since it began. No connection is held that it could need.
            Filled filled = other.over.join();
            if (filled.usable) return (T) filled.value;
            return (T) fill(db, entryName, reads, tenant, core.ticket(), load).value;
        }
        Flight mine = new Flight(began, new CompletableFuture<>());
        flights.put(entryName, mine);
        Filled filled = new Filled(null, false);
        try {
            filled = fill(db, entryName, reads, tenant, began, load);
            return (T) filled.value;
        } finally {
            flights.remove(entryName, mine);
            mine.over.complete(filled); // a failure, too: nobody waits for ever
        }
    }

    private Filled fill(Connection db, String name, List<String> reads, String tenant, Core.Ticket began,
            Load<?> load) throws SQLException {
        Core.Entry versions = versions(db, reads, tenant); // rule 1: before the query
        Core.Entry held = core.peek(name);
        if (held != null && versions != null && held.token().equals(versions.token())) {
            return new Filled(held.value(), true);
        }
        within.set(within.get() + 1);
        Object value;
        try {
            value = load.run(db);
        } finally {
            within.set(within.get() - 1);
        }
        if (versions == null) return new Filled(value, false); // rule 2: no token, no caching
        core.store(name, new Core.Entry(value, versions.token(), versions.parts()), began);
        return new Filled(value, true);
    }

    /** null for what must not be kept: an unknown name, or what a standby says. */
    private static Core.Entry versions(Connection db, List<String> reads, String tenant) throws SQLException {
        List<Core.Part> parts = new ArrayList<>();
        String token = null;
        boolean good = true;
        Array names = db.createArrayOf("text", reads.toArray());
        try (PreparedStatement statement = db.prepareStatement(ASK)) {
            statement.setString(1, tenant);
            statement.setArray(2, names);
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    token = rows.getString(1);
                    good = good && !rows.getBoolean(2) && rows.getBoolean(8)
                            && rows.getObject(6) != null && rows.getObject(7) != null;
                    parts.add(new Core.Part(rows.getString(3), rows.getString(4), rows.getString(5),
                            rows.getLong(6), rows.getLong(7)));
                }
            }
        }
        return token == null || !good ? null : new Core.Entry(null, token, parts);
    }

    /**
     * The result of a SELECT with ? for parameters (and no other ? in it); the server finds out
     * what it reads. What cannot be cached is run every time.
     */
    public <T> T query(Connection db, String statement, String tenant, List<?> parameters, Scan<T> scan)
            throws SQLException {
        Load<T> load = it -> {
            try (PreparedStatement prepared = it.prepareStatement(statement)) {
                for (int n = 0; n < parameters.size(); n++) prepared.setObject(n + 1, parameters.get(n));
                try (ResultSet rows = prepared.executeQuery()) {
                    return scan.read(rows);
                }
            }
        };
        // A definition that moves from now on keeps the result from being stored.
        Core.Ticket began = core.ticket();
        List<String> reads = core.reads(statement);
        if (reads == null) {
            reads = dependencies(db, statement);
            core.remember(statement, reads, began);
        }
        if (reads.isEmpty()) return load.run(db);
        return get(db, "query " + parameters + " " + statement, reads, tenant, false, began, load);
    }

    private static List<String> dependencies(Connection db, String statement) throws SQLException {
        TreeSet<String> reads = new TreeSet<>();
        boolean cacheable = true;
        try (PreparedStatement prepared = db.prepareStatement(DEPENDENCIES)) {
            StringBuilder numbered = new StringBuilder();
            int parameter = 0;
            for (char letter : statement.toCharArray()) {
                numbered.append(letter == '?' ? "$" + ++parameter : String.valueOf(letter));
            }
            prepared.setString(1, numbered.toString());
            try (ResultSet rows = prepared.executeQuery()) {
                while (rows.next()) {
                    cacheable = cacheable && rows.getBoolean(1);
                    if (rows.getString(2) != null) reads.add(rows.getString(2));
                }
            }
        }
        return cacheable ? List.copyOf(reads) : List.of();
    }
}
