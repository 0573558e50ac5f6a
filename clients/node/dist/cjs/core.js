"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Core = exports.INTERNAL = void 0;
/**
 * The state of a near cache, and the rules that keep it from serving what is stale.
 * Nothing here does I/O or waits.
 *
 * Time is told by a sequence number that moves with each thing heard. What is heard
 * concerns entries that are held and fills that are in flight; a fill that begins later
 * sees it in the database. That is why
 *
 * - a fill takes a ticket before it asks for versions, and is stored only if nothing
 *   heard since then says more than its versions;
 * - a version is compared with what was heard only if it was heard after the ticket, so
 *   that a payload with nonsense in it costs one refused fill and no more;
 * - what was heard may be forgotten at any time, if the fills in flight are refused: the
 *   generation.
 *
 * Entries of a whole domain cannot be compared with the version of one tenant. Any change
 * of the domain heard drops them, and refuses the fills in flight. The same goes for
 * definitions: which names a statement's result was made from was found out before the
 * versions were asked for, so what was heard since then counts, whatever its version.
 */
const lru_cache_1 = require("lru-cache");
/** The extension's own domains: that a view, a function or a type is as it was. */
exports.INTERNAL = 'cache_notify/';
/** What was heard is forgotten beyond so many (tenant, domain, key). */
const MAX_HEARD = 100_000;
/** Letter case in keys is ignored: coarser for some, wrong for none. */
const fold = (key) => (key === null ? null : key.toLowerCase());
const isInternal = (part) => part.domain.startsWith(exports.INTERNAL);
const place = (...parts) => JSON.stringify(parts);
class Core {
    metrics;
    entries;
    endedEntries;
    /** domain -> tenant (null: whole) -> key (null: all) -> names of entries */
    watching = new Map();
    heard = new Map();
    allKeys = new Map();
    news = new Map();
    sequence = 0;
    generation = 0;
    leaseEnds = 0;
    constructor(limits, metrics) {
        this.metrics = metrics;
        const evicted = (entry, name, reason) => {
            if (reason === 'evict')
                this.unwatch(name, entry);
        };
        const sizeOf = limits.sizeOf ?? ((value) => JSON.stringify(value)?.length ?? 1);
        this.entries =
            limits.maxBytes === undefined
                ? new lru_cache_1.LRUCache({ max: limits.maxEntries, dispose: evicted })
                : new lru_cache_1.LRUCache({
                    maxSize: limits.maxBytes,
                    sizeCalculation: (entry) => Math.max(1, sizeOf(entry.value)),
                    dispose: evicted,
                });
        this.endedEntries = new lru_cache_1.LRUCache({ max: limits.maxEntries });
    }
    now() {
        return performance.now();
    }
    extendLease(until) {
        this.leaseEnds = until;
    }
    /** Keeps what is there, and serves none of it from memory. */
    endLease() {
        this.leaseEnds = 0;
    }
    get listening() {
        return this.now() < this.leaseEnds;
    }
    get size() {
        return this.entries.size;
    }
    /** The entry to serve from memory, if there is one. */
    find(name) {
        const entry = this.entries.get(name);
        if (entry === undefined)
            return undefined;
        const now = this.now();
        if (now >= this.leaseEnds)
            return undefined;
        if (now >= entry.expires) {
            this.drop(name, 'expired');
            return undefined;
        }
        return entry;
    }
    /** The entry, whether or not it may be served without asking: compare its token. */
    peek(name) {
        const entry = this.entries.get(name);
        return entry !== undefined && this.now() < entry.expires ? entry : undefined;
    }
    /** The entry that was dropped or has expired, to be served for a while. */
    ended(name) {
        return this.endedEntries.get(name);
    }
    /** Taken before a fill asks for its versions. */
    ticket() {
        return { generation: this.generation, sequence: this.sequence };
    }
    /**
     * Whether something heard since the ticket says more than these versions. Parts that
     * are not known yet (null) may lack anything heard.
     */
    outdated(ticket, parts) {
        if (ticket.generation !== this.generation)
            return true;
        if (parts === null)
            return ticket.sequence !== this.sequence;
        return parts.some((part) => this.lacks(ticket, part));
    }
    /** Keeps the entry, unless that could serve something stale. */
    store(name, entry, ticket) {
        if (!this.listening)
            return this.refuse('not_listening');
        if (this.outdated(ticket, entry.parts))
            return this.refuse('outdated');
        this.drop(name, 'replaced');
        this.endedEntries.delete(name);
        this.entries.set(name, entry);
        if (!this.entries.has(name))
            return this.refuse('too_large');
        for (const part of entry.parts) {
            const tenants = getOrMake(this.watching, part.domain, () => new Map());
            const keys = getOrMake(tenants, part.tenant, () => new Map());
            getOrMake(keys, fold(part.key), () => new Set()).add(name);
        }
        this.metrics.count('stores');
        return true;
    }
    /** The version last heard of, undefined if it is not remembered. */
    heardVersion(tenant, domain) {
        return this.heard.get(place(tenant, domain, null))?.version;
    }
    /** A change was delivered: drops what it outdates, and remembers it for fills in flight. */
    hear(change) {
        const { tenant, domain, version, keys } = change;
        if (this.heard.size + this.allKeys.size >= MAX_HEARD)
            this.forget();
        this.sequence += 1;
        const changed = [null, ...(keys ?? []).map(fold)];
        for (const key of changed)
            this.remember(this.heard, place(tenant, domain, key), version);
        if (keys === null)
            this.remember(this.allKeys, place(tenant, domain), version);
        this.noteNews(domain, changed, keys === null);
        for (const [watched, byKey] of [...(this.watching.get(domain) ?? [])]) {
            if (tenant !== null && watched !== null && watched !== tenant)
                continue;
            for (const key of keys === null ? [...byKey.keys()] : changed) {
                for (const name of [...(byKey.get(key) ?? [])]) {
                    this.dropIfOutdated(name, tenant, domain, version);
                }
            }
        }
    }
    /**
     * The application itself has changed something, and its delivery may still be on its
     * way: drops all that this may concern.
     */
    hearOwn(tenant, domain) {
        this.hear({ tenant, domain, version: Infinity, keys: null });
    }
    /** Anything may have changed: drops everything, refuses the fills in flight. */
    reset(reason) {
        for (const name of [...this.entries.keys()])
            this.drop(name, reason);
        this.forget();
        this.metrics.count('resets', reason);
    }
    /**
     * What was sent while nobody listened will be asked for, but for definitions: drops what
     * depends on them, and refuses the fills in flight.
     */
    listenAnew() {
        for (const [name, entry] of [...this.entries.entries()]) {
            if (entry.parts.some(isInternal))
                this.drop(name, 'definitions_missed');
        }
        this.forget();
    }
    forget() {
        this.generation += 1;
        this.sequence += 1;
        this.heard.clear();
        this.allKeys.clear();
        this.news.clear();
    }
    refuse(reason) {
        this.metrics.count('refusals', reason);
        return false;
    }
    lacks(ticket, part) {
        if (this.beyond(ticket, null, part, part.sharedVersion))
            return true;
        if (part.tenant !== null && !isInternal(part)) {
            return this.beyond(ticket, part.tenant, part, part.version);
        }
        const news = this.news.get(part.domain);
        if (news === undefined)
            return false;
        // Whichever key changes, null is noted with it.
        return Math.max(news.anyKey, news.byKey.get(fold(part.key)) ?? 0) > ticket.sequence;
    }
    /** Whether more than this version was heard since the ticket. */
    beyond(ticket, tenant, part, version) {
        const floors = [this.heard.get(place(tenant, part.domain, fold(part.key)))];
        if (part.key !== null)
            floors.push(this.allKeys.get(place(tenant, part.domain)));
        return floors.some((floor) => floor !== undefined && floor.sequence > ticket.sequence && version < floor.version);
    }
    remember(floors, where, version) {
        const before = floors.get(where);
        const highest = before === undefined ? version : Math.max(version, before.version);
        floors.set(where, { version: highest, sequence: this.sequence });
    }
    noteNews(domain, changed, allKeys) {
        const news = getOrMake(this.news, domain, () => ({ anyKey: 0, byKey: new Map() }));
        if (allKeys || news.byKey.size >= MAX_HEARD) {
            news.anyKey = this.sequence;
            news.byKey.clear();
        }
        else {
            for (const key of changed)
                news.byKey.set(key, this.sequence);
        }
    }
    dropIfOutdated(name, tenant, domain, version) {
        const entry = this.entries.peek(name);
        const outdated = (part) => {
            if (part.domain !== domain)
                return false;
            if (isInternal(part))
                return true;
            if (tenant === null)
                return part.sharedVersion < version;
            return part.tenant === null || (part.tenant === tenant && part.version < version);
        };
        if (entry?.parts.some(outdated))
            this.drop(name, 'changed');
    }
    drop(name, reason) {
        const entry = this.entries.peek(name);
        if (entry === undefined)
            return;
        this.entries.delete(name);
        this.unwatch(name, entry);
        this.metrics.count('drops', reason);
        if (reason !== 'replaced' && entry.keepWhenEnded) {
            entry.ended = Math.min(this.now(), entry.expires);
            this.endedEntries.set(name, entry);
        }
    }
    unwatch(name, entry) {
        for (const part of entry.parts) {
            const tenants = this.watching.get(part.domain);
            const keys = tenants?.get(part.tenant);
            const names = keys?.get(fold(part.key));
            if (tenants === undefined || keys === undefined || names === undefined)
                continue;
            names.delete(name);
            if (names.size === 0)
                keys.delete(fold(part.key));
            if (keys.size === 0)
                tenants.delete(part.tenant);
            if (tenants.size === 0)
                this.watching.delete(part.domain);
        }
    }
    /** How many names of entries are watched: for tests, which see that none is left over. */
    get watched() {
        let n = 0;
        for (const tenants of this.watching.values()) {
            for (const keys of tenants.values())
                for (const names of keys.values())
                    n += names.size;
        }
        return n;
    }
}
exports.Core = Core;
function getOrMake(map, key, make) {
    let value = map.get(key);
    if (value === undefined)
        map.set(key, (value = make()));
    return value;
}
