package near;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.Strictness;
import com.google.gson.TypeAdapter;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The entries, what was heard, and the rules that keep what is stale from being served; no I/O,
 * no waiting. The numbers are those of the checklist in README.md.
 */
final class Core {
    /** What was heard is forgotten beyond so many scopes. */
    private static final int MAX_HEARD = 100_000;
    private static final long MAX_VERSION = (1L << 53) - 1;
    private static final TypeAdapter<JsonElement> JSON =
            new GsonBuilder().setStrictness(Strictness.STRICT).create().getAdapter(JsonElement.class);

    /** One thing that a result was made from. tenant null: of the whole domain; key null: all. */
    record Part(String tenant, String domain, String key, long version, long shared) {
        boolean internal() {
            return isInternal(domain);
        }
    }

    record Entry(Object value, String token, List<Part> parts) {}

    /** Taken before a fill asks for its versions. */
    record Ticket(long generation, long heard) {}

    record Scope(String tenant, String domain) {}

    record Floor(long version, long number) {}

    /** keys null: any key. */
    record Change(String tenant, String domain, long version, Set<String> keys) {
        boolean outdates(Part part) {
            if (!part.domain.equals(domain)) return false;
            if (part.internal()) return true;
            if (tenant == null) return part.shared < version;
            if (part.tenant != null && (!part.tenant.equals(tenant) || part.version >= version)) return false;
            return keys == null || part.key == null || keys.contains(part.key.toLowerCase());
        }
    }

    private final Cache<String, Entry> entries;
    private final boolean storesAnything;
    private final Map<String, Set<String>> watching = new HashMap<>();
    private final Map<Scope, Floor> floors = new HashMap<>();
    private final Map<String, Long> news = new HashMap<>();
    private final Map<String, List<String>> statements = new HashMap<>();
    private long heard;
    private long generation;
    private long leaseEnds = System.nanoTime();

    Core(long maxEntries, Duration ttl, boolean storesAnything) {
        entries = Caffeine.newBuilder().maximumSize(maxEntries).expireAfterWrite(ttl).build();
        this.storesAnything = storesAnything;
    }

    /** Definitions of views, functions and types have domains of their own. */
    static boolean isInternal(String domain) {
        return domain.startsWith("cache_notify/");
    }

    synchronized Ticket ticket() {
        return new Ticket(generation, heard);
    }

    synchronized void lease(long until) {
        leaseEnds = until;
    }

    private boolean listening() {
        return System.nanoTime() - leaseEnds < 0;
    }

    /** Only while deliveries come in (rule 8). */
    synchronized Entry find(String name) {
        return listening() ? entries.getIfPresent(name) : null;
    }

    /** What is held, whether or not it may be served without asking: compare its token. */
    Entry peek(String name) {
        return entries.getIfPresent(name);
    }

    /** Unless something heard since the ticket says more (rule 4). */
    synchronized void store(String name, Entry entry, Ticket began) {
        if (!listening()) return;
        if (!storesAnything && (began.generation != generation
                || entry.parts.stream().anyMatch(part -> lacks(began, part)))) return;
        for (Part part : entry.parts) {
            watching.computeIfAbsent(part.domain, it -> new HashSet<>()).add(name);
        }
        entries.put(name, entry);
    }

    private boolean lacks(Ticket began, Part part) {
        if (beyond(began, new Scope(null, part.domain), part.shared)) return true;
        if (part.tenant == null || part.internal()) {
            // A tenant's version says nothing of the whole domain's: whatever was heard counts.
            return news.getOrDefault(part.domain, 0L) > began.heard;
        }
        return beyond(began, new Scope(part.tenant, part.domain), part.version);
    }

    private boolean beyond(Ticket began, Scope scope, long version) {
        Floor floor = floors.get(scope);
        return floor != null && floor.number > began.heard && version < floor.version;
    }

    synchronized long heardVersion(String tenant, String domain) {
        Floor floor = floors.get(new Scope(tenant, domain));
        return floor == null ? 0 : floor.version;
    }

    /** Drops what a change outdates (rule 3), and remembers it for the fills in flight. */
    synchronized void hear(Change change) {
        if (floors.size() >= MAX_HEARD) forget();
        long number = ++heard;
        floors.merge(new Scope(change.tenant, change.domain), new Floor(change.version, number),
                (before, now) -> new Floor(Math.max(before.version, now.version), number));
        news.put(change.domain, number);
        if (isInternal(change.domain)) {
            statements.clear();
            generation += 1;
        }
        for (String name : List.copyOf(watching.getOrDefault(change.domain, Set.of()))) {
            Entry entry = entries.getIfPresent(name);
            if (entry == null) { // evicted, or expired
                watching.get(change.domain).remove(name);
            } else if (entry.parts.stream().anyMatch(change::outdates)) {
                drop(name, entry);
            }
        }
    }

    private void drop(String name, Entry entry) {
        entries.invalidate(name);
        for (Part part : entry.parts) {
            Set<String> names = watching.get(part.domain);
            if (names != null) names.remove(name);
        }
    }

    /** Drops everything, and refuses the fills in flight. It may stand for definitions. */
    synchronized void reset() {
        entries.invalidateAll();
        watching.clear();
        statements.clear();
        forget();
    }

    /** Changes that nobody heard will be asked for, but not those of definitions. */
    synchronized void listenAnew() {
        for (String domain : List.copyOf(watching.keySet())) {
            if (!isInternal(domain)) continue;
            for (String name : List.copyOf(watching.get(domain))) {
                Entry entry = entries.getIfPresent(name);
                if (entry != null) drop(name, entry);
            }
        }
        statements.clear();
        forget();
    }

    private void forget() {
        generation += 1;
        heard += 1;
        floors.clear();
        news.clear();
    }

    synchronized List<String> reads(String statement) {
        return statements.get(statement);
    }

    synchronized void remember(String statement, List<String> reads, Ticket began) {
        if (began.generation == generation) statements.put(statement, reads);
    }

    /** A payload, or null for one that is not understood, which is a reset (rule 10). */
    static Change parse(String payload) {
        try {
            JsonObject told = JSON.fromJson(payload).getAsJsonObject();
            JsonElement tenant = told.get("tenant_id");
            JsonElement version = told.get("version");
            if (told.has("reset") || tenant == null || !version.getAsString().matches("[1-9][0-9]{0,15}")
                    || !version.getAsJsonPrimitive().isNumber() || version.getAsLong() > MAX_VERSION
                    || payload.indexOf('\uFFFD') >= 0) return null;
            return new Change(tenant.isJsonNull() ? null : text(tenant), text(told.get("domain")),
                    version.getAsLong(), keys(told.get("keys")));
        } catch (Exception | StackOverflowError notUnderstood) {
            return null;
        }
    }

    private static String text(JsonElement element) {
        if (!element.getAsJsonPrimitive().isString()) throw new IllegalArgumentException();
        return element.getAsString();
    }

    private static Set<String> keys(JsonElement told) {
        if (told == null || !told.isJsonArray()) return null;
        Set<String> keys = new HashSet<>();
        for (JsonElement key : told.getAsJsonArray()) {
            if (!key.isJsonPrimitive() || !key.getAsJsonPrimitive().isString()) return null;
            keys.add(key.getAsString().toLowerCase());
        }
        return keys;
    }

    static String name(String name, List<String> reads, String tenant) {
        List<Object> told = new ArrayList<>();
        told.add(name);
        told.add(tenant);
        told.add(reads);
        return new Gson().toJson(told);
    }
}
