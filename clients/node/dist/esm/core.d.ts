import type { Metrics } from './metrics.js';
import type { Change } from './payload.js';
/** The extension's own domains: that a view, a function or a type is as it was. */
export declare const INTERNAL = "cache_notify/";
/**
 * One thing that a result was made from, by the server's names. tenant null: of the whole
 * domain. key null: the domain, not one key of it.
 */
export interface Part {
    readonly tenant: string | null;
    readonly domain: string;
    readonly key: string | null;
    readonly version: number;
    readonly sharedVersion: number;
}
/** When a fill began. */
export interface Ticket {
    readonly generation: number;
    readonly sequence: number;
}
export interface Entry {
    readonly value: unknown;
    readonly token: string;
    readonly parts: readonly Part[];
    /** in ms, as performance.now() */
    expires: number;
    readonly keepWhenEnded: boolean;
    ended: number;
}
export interface Limits {
    maxEntries: number;
    maxBytes?: number | undefined;
    sizeOf?: ((value: unknown) => number) | undefined;
}
export declare class Core {
    private readonly metrics;
    private readonly entries;
    private readonly endedEntries;
    /** domain -> tenant (null: whole) -> key (null: all) -> names of entries */
    private readonly watching;
    private readonly heard;
    private readonly allKeys;
    private readonly news;
    private sequence;
    private generation;
    private leaseEnds;
    constructor(limits: Limits, metrics: Metrics);
    now(): number;
    extendLease(until: number): void;
    /** Keeps what is there, and serves none of it from memory. */
    endLease(): void;
    get listening(): boolean;
    get size(): number;
    /** The entry to serve from memory, if there is one. */
    find(name: string): Entry | undefined;
    /** The entry, whether or not it may be served without asking: compare its token. */
    peek(name: string): Entry | undefined;
    /** The entry that was dropped or has expired, to be served for a while. */
    ended(name: string): Entry | undefined;
    /** Taken before a fill asks for its versions. */
    ticket(): Ticket;
    /**
     * Whether something heard since the ticket says more than these versions. Parts that
     * are not known yet (null) may lack anything heard.
     */
    outdated(ticket: Ticket, parts: readonly Part[] | null): boolean;
    /** Keeps the entry, unless that could serve something stale. */
    store(name: string, entry: Entry, ticket: Ticket): boolean;
    /** The version last heard of, undefined if it is not remembered. */
    heardVersion(tenant: string | null, domain: string): number | undefined;
    /** A change was delivered: drops what it outdates, and remembers it for fills in flight. */
    hear(change: Change): void;
    /**
     * The application itself has changed something, and its delivery may still be on its
     * way: drops all that this may concern.
     */
    hearOwn(tenant: string | null, domain: string): void;
    /** Anything may have changed: drops everything, refuses the fills in flight. */
    reset(reason: string): void;
    /**
     * What was sent while nobody listened will be asked for, but for definitions: drops what
     * depends on them, and refuses the fills in flight.
     */
    listenAnew(): void;
    private forget;
    private refuse;
    private lacks;
    /** Whether more than this version was heard since the ticket. */
    private beyond;
    private remember;
    private noteNews;
    private dropIfOutdated;
    private drop;
    private unwatch;
    /** How many names of entries are watched: for tests, which see that none is left over. */
    get watched(): number;
}
