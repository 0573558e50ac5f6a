"use strict";
var __importDefault = (this && this.__importDefault) || function (mod) {
    return (mod && mod.__esModule) ? mod : { "default": mod };
};
Object.defineProperty(exports, "__esModule", { value: true });
exports.Cache = void 0;
const pg_1 = __importDefault(require("pg"));
const adapters_js_1 = require("./adapters.js");
const ask_js_1 = require("./ask.js");
const core_js_1 = require("./core.js");
const flights_js_1 = require("./flights.js");
const listener_js_1 = require("./listener.js");
const metrics_js_1 = require("./metrics.js");
const names_js_1 = require("./names.js");
const statements_js_1 = require("./statements.js");
/**
 * Results of queries, kept in this process, and dropped when the server says that what they
 * were made from has changed.
 */
class Cache {
    metrics = new metrics_js_1.Metrics();
    core;
    flights;
    listener;
    statements;
    log;
    primary;
    ttl;
    copy;
    standbys = new WeakSet();
    said = new Set();
    off = 0;
    closed = false;
    constructor(options) {
        const { heartbeat = 1_000, lease = 5_000 } = options;
        if (lease <= heartbeat) {
            throw new RangeError('lease must be longer than heartbeat, or nothing is ever served');
        }
        this.log = options.log ?? { info: console.info, warn: console.warn };
        this.primary =
            typeof options.listen === 'string' ? { connectionString: options.listen } : options.listen;
        this.ttl = options.ttl ?? 300_000;
        this.copy = options.copy ?? ((value) => value);
        this.core = new core_js_1.Core({ maxEntries: options.maxEntries ?? 10_000, maxBytes: options.maxBytes, sizeOf: options.sizeOf }, this.metrics);
        this.flights = new flights_js_1.Flights(this.core);
        this.statements = new statements_js_1.Statements(this.log);
        const channel = options.channel ?? 'cache_invalidation';
        this.listener = new listener_js_1.Listener(this.primary, this.core, this.metrics, {
            channel,
            heartbeat,
            lease,
            log: this.log,
            redefined: () => this.statements.forget(),
        });
    }
    /** Stops listening. From then on results are computed, and none is kept. */
    async close() {
        this.closed = true;
        await this.listener.close();
    }
    /** Whether deliveries come in, so that results are served from memory. */
    get listening() {
        return this.core.listening;
    }
    /** Why the cache does not listen, and so serves nothing from memory. */
    get failure() {
        return this.listener.failure;
    }
    /** Waits until the cache may serve from memory, or has failed to; whether it may. */
    async waitUntilListening(ms = 10_000) {
        return this.listener.wait(ms);
    }
    /** How many entries there are. */
    get size() {
        return this.core.size;
    }
    /** Drops every entry, and refuses the fills in flight. */
    forgetAll() {
        this.core.reset('forgotten');
    }
    /** Until run() is over everything is computed, and nothing kept: for tests. */
    async disabled(run) {
        this.off += 1;
        try {
            return await run();
        }
        finally {
            this.off -= 1;
        }
    }
    /**
     * The result of load(db), from memory if that is as good.
     *
     * db: where to read: a client, a transaction or a pool. name: tells results with the same
     * reads and tenant apart: anything that JSON can say. What load() throws passes through.
     */
    async get(db, name, load, options) {
        const request = requestOf(name, options.reads, options);
        return this.serve(db, request, () => load(db), options);
    }
    /**
     * A function that is cached by its arguments, of which the first is the database. reads
     * and tenant are made from the arguments.
     */
    cached(load, options) {
        const label = options.name ?? load.name;
        if (label === '')
            throw new TypeError('a function without a name needs options.name');
        return async (db, ...args) => {
            const reads = typeof options.reads === 'function' ? options.reads(db, ...args) : options.reads;
            const whose = {};
            if ('tenant' in options) {
                whose.tenant = typeof options.tenant === 'function' ? options.tenant(db, ...args) : options.tenant;
            }
            const request = requestOf([label, ...args], reads, whose);
            return this.serve(db, request, () => load(db, ...args), options);
        };
    }
    /**
     * The rows of a SELECT, as the driver gives them; the server finds out what it reads, once
     * for each statement and again when a definition has moved. What cannot be cached (now(),
     * tables that are not watched, what depends on the session) is run every time, and the log
     * says why, once.
     */
    async query(db, statement, parameters = [], options = {}) {
        const adapter = (0, adapters_js_1.adapterOf)(db);
        const run = () => adapter.query(statement, parameters);
        if (this.isOff())
            return run();
        // Taken before what is remembered is looked at: a definition that moves from now on
        // keeps the result from being stored.
        const began = this.core.ticket();
        const names = this.statements.find(statement) ?? (await this.statements.analyse(adapter, statement));
        if (names.length === 0) {
            this.metrics.count('refusals', 'uncacheable_statement');
            return run();
        }
        return this.serve(db, requestOf(['query', statement, parameters], names, options), run, options, began);
    }
    /**
     * Around writes: once it is over, nothing that they changed is served from this cache,
     * even if its delivery is still on its way. Commit within write(). changes: the domains, of
     * tenant or of any; left out: everything in memory is dropped.
     */
    async writing(write, options = {}) {
        try {
            return await write();
        }
        finally {
            if (options.changes === undefined) {
                this.core.reset('own_write');
            }
            else {
                const tenant = 'tenant' in options ? (0, names_js_1.tenantText)(options.tenant) : null;
                for (const domain of (0, names_js_1.readNames)(options.changes))
                    this.core.hearOwn(tenant, domain);
            }
        }
    }
    isOff() {
        return this.off > 0 || this.closed;
    }
    async serve(db, request, load, how, began) {
        if (this.isOff())
            return load();
        const adapter = (0, adapters_js_1.adapterOf)(db);
        const inTransaction = adapter.inTransaction();
        if (how.fresh === true || inTransaction !== false) {
            return this.fill(db, adapter, request, load, how, undefined, began);
        }
        const entry = this.core.find(request.entry);
        if (entry !== undefined) {
            this.metrics.count('hits');
            return this.copy(entry.value);
        }
        for (let attempt = 0; attempt < 2; attempt += 1) {
            const joined = this.flights.join(request.entry);
            if (joined === undefined) {
                return this.flights.fly(request.entry, (flight) => this.fill(db, adapter, request, load, how, flight, began));
            }
            const stale = this.stale(request, how.staleWhileRevalidate, 'stale_while_revalidate');
            if (stale !== undefined)
                return this.copy(stale.value);
            await this.flights.wait(joined.flight);
            if (this.flights.mayUse(joined.flight, joined.joinedAt)) {
                this.metrics.count('joins');
                return this.copy(joined.flight.value);
            }
        }
        return this.fill(db, adapter, request, load, how, undefined, began);
    }
    /** Computes a result, for the others who wait for this flight too, if there is one. */
    async fill(db, adapter, request, load, how, flight, 
    /** When it was found out what the result is made from, if that was asked for. */
    began) {
        const held = this.core.peek(request.entry);
        let ticket = began ?? this.core.ticket();
        if (flight !== undefined)
            flight.ticket = ticket;
        let primary = this.standbys.has(db) ? await this.askPrimary(request) : undefined;
        let answer = await this.ask(adapter, request);
        if (answer.inRecovery && primary === undefined) {
            // What was heard may not be there yet: the primary says how far it must be.
            this.standbys.add(db);
            ticket = began ?? this.core.ticket();
            primary = await this.askPrimary(request);
            answer = await this.ask(adapter, request);
        }
        if (flight !== undefined) {
            flight.ticket = ticket;
            flight.parts = answer.token === null ? null : answer.parts;
        }
        if (held !== undefined && answer.token !== null && held.token === answer.token) {
            this.metrics.count('hits', 'validated');
            return this.copy(held.value);
        }
        this.metrics.count('misses');
        let value;
        try {
            // The versions are known; only now the query. The other way round, a change in between
            // would put the old result under the new version.
            value = await load();
        }
        catch (error) {
            const stale = this.stale(request, how.staleIfError, 'stale_if_error');
            if (stale === undefined)
                throw error;
            return this.copy(stale.value);
        }
        const refusal = await this.refusal(adapter, request, answer, primary);
        if (refusal !== undefined) {
            this.refused(request, refusal);
            // It may lack what those who wait had heard.
            if (flight !== undefined && answer.inRecovery)
                flight.shareable = false;
            return value;
        }
        this.core.store(request.entry, this.entryOf(value, answer, how), ticket);
        return this.copy(value);
    }
    /** Why a result is used and not stored; undefined if it may be. */
    async refusal(adapter, request, answer, primary) {
        if (answer.token === null)
            return answer.whyNot;
        const within = answer.inTransaction || adapter.inTransaction() === true;
        if (within && !answer.readCommitted)
            return 'old_snapshot';
        if (answer.hasWritten)
            return 'transaction_has_written';
        if (answer.inRecovery) {
            if (adapter.shared)
                return 'pool_of_standbys';
            if (primary === undefined || lags(answer, primary))
                return 'lagging_standby';
        }
        if (!adapter.shared && adapter.inTransaction() !== false) {
            // The loader may have written something; a rollback would undo it.
            const again = await this.ask(adapter, request);
            if (again.token !== answer.token || again.hasWritten)
                return 'transaction_has_written';
        }
        return undefined;
    }
    refused(request, reason) {
        this.metrics.count('refusals', reason);
        const names = request.names.join(', ');
        if (reason !== 'unknown_domain' || this.said.has(names) || this.said.size >= 1000)
            return;
        this.said.add(names);
        this.log.warn(`not cached: nothing feeds one of the domains ${names}; look at ` +
            'cache_notify.v_invalidation_status, or watch its table');
    }
    entryOf(value, answer, how) {
        return {
            value: this.copy(value),
            token: answer.token,
            parts: answer.parts,
            expires: this.core.now() + (how.ttl ?? this.ttl),
            keepWhenEnded: (how.staleWhileRevalidate ?? 0) > 0 || (how.staleIfError ?? 0) > 0,
            ended: 0,
        };
    }
    stale(request, ms, why) {
        const entry = ms !== undefined && ms > 0 ? this.core.ended(request.entry) : undefined;
        if (entry === undefined || this.core.now() >= entry.ended + (ms ?? 0))
            return undefined;
        this.metrics.count('stale_serves', why);
        return entry;
    }
    async ask(adapter, request) {
        return (0, ask_js_1.answerOf)(await adapter.run(ask_js_1.ASK, [request.tenant, (0, ask_js_1.array)(request.names)]));
    }
    async askPrimary(request) {
        const client = new pg_1.default.Client(this.primary);
        client.on('error', () => undefined);
        await client.connect();
        try {
            return (0, ask_js_1.answerOf)((await client.query(ask_js_1.ASK, [request.tenant, (0, ask_js_1.array)(request.names)])).rows);
        }
        finally {
            await client.end();
        }
    }
}
exports.Cache = Cache;
/** Whether one of the versions is lower than the primary says. */
function lags(answer, primary) {
    if (primary.token === null)
        return true;
    return answer.parts.some((part) => {
        const there = primary.parts.find((other) => other.tenant === part.tenant && other.domain === part.domain && other.key === part.key);
        return there === undefined || part.version < there.version || part.sharedVersion < there.sharedVersion;
    });
}
function requestOf(name, reads, whose) {
    const names = (0, names_js_1.readNames)(reads);
    const tenant = 'tenant' in whose ? (0, names_js_1.tenantText)(whose.tenant) : null;
    return { entry: JSON.stringify([told(name), tenant, names]), tenant, names };
}
/** A name as it tells results apart: 1 and 1n and '1' are three; undefined is an error. */
function told(name) {
    switch (typeof name) {
        case 'string':
        case 'boolean':
            return name;
        case 'number':
            if (Number.isFinite(name))
                return name;
            break;
        case 'bigint':
            return { bigint: name.toString() };
        case 'object':
            if (name === null)
                return null;
            if (Array.isArray(name))
                return name.map(told);
            if (name instanceof Date)
                return { date: name.toISOString() };
            if (Buffer.isBuffer(name))
                return { bytes: name.toString('base64') };
            if (Object.getPrototypeOf(name) === Object.prototype || Object.getPrototypeOf(name) === null) {
                return { object: Object.entries(name).sort().map(([key, value]) => [key, told(value)]) };
            }
    }
    throw new TypeError(`a result's name is made of strings, numbers, lists and plain objects, not of ${typeof name}`);
}
