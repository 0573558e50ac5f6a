import type { ClientConfig } from 'pg';
import type { Core } from './core.js';
import type { Metrics } from './metrics.js';
/** Where what somebody should read is written. */
export interface Log {
    info(message: string): void;
    warn(message: string): void;
}
export interface ListenerOptions {
    readonly channel: string;
    readonly heartbeat: number;
    readonly lease: number;
    readonly log: Log;
    /** What to do when a definition may have moved. */
    redefined(): void;
}
export declare class Listener {
    private readonly config;
    private readonly core;
    private readonly metrics;
    private readonly options;
    /** Why it does not listen, if it does not. */
    failure: Error | undefined;
    private closed;
    private client;
    private wake;
    private position;
    /** (tenant, domain) -> version not delivered yet; null: ask for all */
    private overdue;
    private readonly said;
    private readonly running;
    private firstTry;
    private stop;
    private readonly closing;
    private readonly tried;
    constructor(config: ClientConfig, core: Core, metrics: Metrics, options: ListenerOptions);
    /** Stops listening. May be called at any moment, and again. */
    close(): Promise<void>;
    /** Waits until it listens or has failed once; whether it listens. */
    wait(timeout: number): Promise<boolean>;
    private run;
    private failed;
    /** Says it once, not at each attempt. */
    private say;
    private sleep;
    private makeClient;
    private destroy;
    private listen;
    private checkServer;
    /**
     * A transaction pooler takes LISTEN, and swallows what should come of it, unless it
     * happens to come while the server connection is ours: so somebody else sends it.
     */
    private prove;
    private mayCatchUp;
    /**
     * Hears what has changed since the last time. What we listened for may still be on its
     * way, with the keys that it tells: it has until the next time.
     */
    private catchUp;
    private missed;
    private heard;
}
