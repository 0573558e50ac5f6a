package near;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * A reader for test/consistency/check with this cache; foreign.py there says what it is told
 * over its standard input and what it says.
 */
public final class Reader {
    private record Query(String kind, String name, String sql, List<Integer> cells, List<String> reads,
            String tenant, Integer inner) {}

    private static final Gson GSON = new Gson();
    private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private final Map<Integer, CountDownLatch> goOn = new HashMap<>();
    private Query[] queries;
    private Near cache;
    private int events;
    private int asked;

    private synchronized void say(Object message) {
        out.print(GSON.toJson(message) + "\n");
        out.flush();
    }

    private synchronized void event(Map<String, ?> message) {
        events += 1;
        say(message);
    }

    private synchronized int soFar() {
        return events;
    }

    private static String url(JsonObject server) {
        return "jdbc:postgresql://%s:%d/%s?user=%s".formatted(server.get("host").getAsString(),
                server.get("port").getAsInt(), server.get("database").getAsString(),
                server.get("user").getAsString());
    }

    private void open(JsonObject told) {
        queries = GSON.fromJson(told.get("queries"), Query[].class);
        boolean storesAnything = !told.get("rule_off").isJsonNull();
        if (storesAnything && !told.get("rule_off").getAsString().equals("notify_only")) {
            throw new IllegalArgumentException("this rule cannot be taken out here");
        }
        cache = new Near(new Near.Options(url(told.getAsJsonObject("listen")), Duration.ofMinutes(5), 10_000,
                Duration.ofMillis((long) (told.get("heartbeat").getAsDouble() * 1000)),
                Duration.ofMillis((long) (told.get("lease").getAsDouble() * 1000)),
                (tenant, domain) -> {
                    if (domain.equals("fence") && tenant != null) {
                        event(Map.of("event", "fence", "slot", Integer.parseInt(tenant)));
                    }
                }, this::listening, storesAnything));
        say(Map.of("event", "ready", "kinds",
                List.of("item", "row", "rows", "offer", "both", "whole", "found", "nested")));
    }

    /** What is acknowledged before it listens must be known once it has caught up. */
    private void listening(boolean caughtUp) {
        if (caughtUp) {
            event(Map.of("event", "caught_up"));
            return;
        }
        CountDownLatch latch = new CountDownLatch(1);
        synchronized (this) {
            asked += 1;
            goOn.put(asked, latch);
            say(Map.of("event", "reconnecting", "ask", asked));
        }
        try {
            latch.await();
        } catch (InterruptedException ending) {
            Thread.currentThread().interrupt();
        }
    }

    /** Has a connection of its own, and does one thing after the other. */
    private final class Slot implements Runnable {
        private final LinkedBlockingQueue<JsonObject> orders = new LinkedBlockingQueue<>();
        private Connection db;

        @Override
        public void run() {
            while (true) {
                Map<String, Object> answer;
                JsonObject told = null;
                try {
                    told = orders.take();
                    answer = act(told);
                } catch (SQLException error) {
                    answer = new HashMap<>(Map.of(isLoss(error) ? "lost" : "failed",
                            error.getSQLState() + ": " + error.getMessage()));
                } catch (Exception error) {
                    answer = new HashMap<>(Map.of("failed", error.toString()));
                }
                answer.put("id", told.get("id"));
                say(answer);
            }
        }

        private Map<String, Object> act(JsonObject told) throws SQLException {
            Map<String, Object> answer = new HashMap<>();
            if (told.has("connect")) {
                if (db != null) db.close();
                db = DriverManager.getConnection(url(told.getAsJsonObject("connect")));
            } else if (told.has("sql")) {
                try (PreparedStatement statement = prepare(told.get("sql").getAsString(),
                        List.of(GSON.fromJson(told.get("parameters"), Long[].class)))) {
                    statement.execute();
                }
            } else {
                answer.put("got", read(told));
            }
            return answer;
        }

        private PreparedStatement prepare(String sql, List<? extends Number> parameters) throws SQLException {
            PreparedStatement statement = db.prepareStatement(marks(sql));
            for (int n = 0; n < parameters.size(); n++) statement.setObject(n + 1, parameters.get(n));
            return statement;
        }

        private List<Object> read(JsonObject told) throws SQLException {
            boolean sweep = told.has("sweep");
            int[] numbers = GSON.fromJson(told.get(sweep ? "sweep" : "read"), int[].class);
            double[] work = sweep ? new double[numbers.length] : GSON.fromJson(told.get("work"), double[].class);
            boolean fresh = told.has("fresh") && told.get("fresh").getAsBoolean();
            List<Object> got = new ArrayList<>();
            for (int n = 0; n < numbers.length; n++) {
                Query query = queries[numbers[n]];
                if (sweep && (query.reads == null || !cache.holds(query.name, query.reads, query.tenant))) continue;
                int since = soFar();
                boolean[] loaded = {false};
                List<Long> values = get(query, work[n], fresh, loaded);
                got.add(List.of(numbers[n], since, loaded[0], values));
            }
            return got;
        }

        private List<Long> get(Query query, double work, boolean fresh, boolean[] loaded) throws SQLException {
            if (query.reads == null) {
                return cache.query(db, marks(query.sql), query.tenant, query.cells, Reader::values);
            }
            return cache.get(db, query.name, query.reads, query.tenant, fresh, it -> {
                loaded[0] = true;
                List<Long> found = new ArrayList<>();
                if (query.inner != null) found.addAll(get(queries[query.inner], 0, false, new boolean[1]));
                try (PreparedStatement statement = prepare(query.sql, query.cells);
                        ResultSet rows = statement.executeQuery()) {
                    found.addAll(values(rows));
                }
                try {
                    Thread.sleep((long) (work * 1000));
                } catch (InterruptedException ending) {
                    Thread.currentThread().interrupt();
                }
                return found;
            });
        }

        /** The connection is lost, or the server is going down, coming up, or had to cancel. */
        private boolean isLoss(SQLException error) throws RuntimeException {
            String state = String.valueOf(error.getSQLState());
            boolean loss = state.startsWith("08") || state.startsWith("57") || state.equals("40001")
                    || state.equals("25006")
                    // The extension is not there, or was dropped while a function was called.
                    || state.equals("42883") || state.equals("3F000")
                    || error.getMessage().contains("cache lookup failed");
            if (loss && db != null) {
                try {
                    db.close();
                } catch (SQLException closing) {
                    // it is lost
                }
            }
            return loss;
        }
    }

    private static String marks(String sql) {
        return sql.replaceAll("\\$\\d+", "?");
    }

    private static List<Long> values(ResultSet rows) throws SQLException {
        rows.next();
        List<Long> values = new ArrayList<>();
        for (int n = 1; n <= rows.getMetaData().getColumnCount(); n++) values.add(rows.getLong(n));
        return values;
    }

    private void serve() throws Exception {
        Map<Integer, Slot> slots = new HashMap<>();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = input.readLine()) != null; ) {
            JsonObject told = GSON.fromJson(line, JsonElement.class).getAsJsonObject();
            if (told.has("do")) {
                open(told);
            } else if (told.has("go")) {
                synchronized (this) {
                    goOn.remove(told.get("go").getAsInt()).countDown();
                }
            } else {
                slots.computeIfAbsent(told.get("slot").getAsInt(), it -> {
                    Slot slot = new Slot();
                    Thread thread = new Thread(slot);
                    thread.setDaemon(true);
                    thread.start();
                    return slot;
                }).orders.add(told);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        new Reader().serve();
    }
}
