import type { ClientConfig } from 'pg';
import type { Log } from './listener.js';
import { Metrics } from './metrics.js';
import type { Name } from './names.js';
export interface CacheOptions {
    /** The primary, over a direct connection: a connection string, or what pg.Client takes. */
    listen: string | ClientConfig;
    /** ms that an entry lives at most; Infinity: for ever. Default 300,000. */
    ttl?: number;
    /** The channel of the payloads. Default 'cache_invalidation'. */
    channel?: string;
    /** Beyond so many entries the least recently used go. Default 10,000. */
    maxEntries?: number;
    /** Instead: beyond so many bytes, as sizeOf tells them (default: of the JSON). */
    maxBytes?: number;
    sizeOf?: (value: unknown) => number;
    /** ms between questions what has changed. Default 1,000. */
    heartbeat?: number;
    /**
     * ms for which entries are served after the last answer: so much staler a result can
     * get when a network swallows everything. Default 5,000.
     */
    lease?: number;
    /**
     * Makes the value that a caller gets from the one that is kept, such as
     * structuredClone. By default it is the same object, not to be changed.
     */
    copy?: <T>(value: T) => T;
    /** Where warnings go. Default: console. */
    log?: Log;
}
export interface HowToGet {
    /** ms that this entry lives at most. */
    ttl?: number;
    /** Ask the server (one round trip), so that nothing older than this call is returned. */
    fresh?: boolean;
    /** For so many ms after a result is outdated, return it while somebody computes a new one. */
    staleWhileRevalidate?: number;
    /** For so many ms after a result is outdated, return it if the loader fails. */
    staleIfError?: number;
}
export interface GetOptions extends HowToGet {
    /** What the loader reads: domains, or keys of them ('product/42', see key()). */
    reads: readonly string[];
    /** Whose rows it reads. Left out: any tenant's. undefined is an error. */
    tenant?: Name;
}
export interface QueryOptions extends HowToGet {
    /** Whose rows the statement reads. Left out: any tenant's. undefined is an error. */
    tenant?: Name;
}
/**
 * Results of queries, kept in this process, and dropped when the server says that what they
 * were made from has changed.
 */
export declare class Cache {
    readonly metrics: Metrics;
    private readonly core;
    private readonly flights;
    private readonly listener;
    private readonly statements;
    private readonly log;
    private readonly primary;
    private readonly ttl;
    private readonly copy;
    private readonly standbys;
    private readonly said;
    private off;
    private closed;
    constructor(options: CacheOptions);
    /** Stops listening. From then on results are computed, and none is kept. */
    close(): Promise<void>;
    /** Whether deliveries come in, so that results are served from memory. */
    get listening(): boolean;
    /** Why the cache does not listen, and so serves nothing from memory. */
    get failure(): Error | undefined;
    /** Waits until the cache may serve from memory, or has failed to; whether it may. */
    waitUntilListening(ms?: number): Promise<boolean>;
    /** How many entries there are. */
    get size(): number;
    /** Drops every entry, and refuses the fills in flight. */
    forgetAll(): void;
    /** Until run() is over everything is computed, and nothing kept: for tests. */
    disabled<T>(run: () => Promise<T> | T): Promise<T>;
    /**
     * The result of load(db), from memory if that is as good.
     *
     * db: where to read: a client, a transaction or a pool. name: tells results with the same
     * reads and tenant apart: anything that JSON can say. What load() throws passes through.
     */
    get<DB, T>(db: DB, name: unknown, load: (db: DB) => Promise<T> | T, options: GetOptions): Promise<T>;
    /**
     * A function that is cached by its arguments, of which the first is the database. reads
     * and tenant are made from the arguments.
     */
    cached<DB, A extends readonly unknown[], T>(load: (db: DB, ...args: A) => Promise<T> | T, options: HowToGet & {
        reads: readonly string[] | ((db: DB, ...args: A) => readonly string[]);
        tenant?: Name | ((db: DB, ...args: A) => Name);
        /** Tells this function from others; default: its own name. */
        name?: string;
    }): (db: DB, ...args: A) => Promise<T>;
    /**
     * The rows of a SELECT, as the driver gives them; the server finds out what it reads, once
     * for each statement and again when a definition has moved. What cannot be cached (now(),
     * tables that are not watched, what depends on the session) is run every time, and the log
     * says why, once.
     */
    query<R = Record<string, unknown>>(db: unknown, statement: string, parameters?: readonly unknown[], options?: QueryOptions): Promise<R[]>;
    /**
     * Around writes: once it is over, nothing that they changed is served from this cache,
     * even if its delivery is still on its way. Commit within write(). changes: the domains, of
     * tenant or of any; left out: everything in memory is dropped.
     */
    writing<T>(write: () => Promise<T> | T, options?: {
        changes?: readonly string[];
        tenant?: Name;
    }): Promise<T>;
    private isOff;
    private serve;
    /** Computes a result, for the others who wait for this flight too, if there is one. */
    private fill;
    /** Why a result is used and not stored; undefined if it may be. */
    private refusal;
    private refused;
    private entryOf;
    private stale;
    private ask;
    private askPrimary;
}
