import type { Core, Part, Ticket } from './core.js';
/** One computation that others may wait for. */
export declare class Flight {
    ticket: Ticket | null;
    /** null: not known, or no proof */
    parts: readonly Part[] | null;
    succeeded: boolean;
    shareable: boolean;
    value: unknown;
    endedOutdated: boolean;
    readonly waitsFor: Set<Flight>;
    readonly over: Promise<void>;
    end: () => void;
    constructor();
}
export declare class Flights {
    private readonly core;
    private readonly flying;
    /** The flights that the current context is computing, the innermost last. */
    private readonly mine;
    constructor(core: Core);
    /** A flight to wait for, with when it was joined; undefined: start one. */
    join(name: string): {
        flight: Flight;
        joinedAt: number;
    } | undefined;
    /** Waits until the flight is over. */
    wait(flight: Flight): Promise<void>;
    /** Flies: others may join until it is over. */
    fly<T>(name: string, compute: (flight: Flight) => Promise<T>): Promise<T>;
    /** Whether somebody who joined at this number may take the result. */
    mayUse(flight: Flight, joinedAt: number): boolean;
    private mayJoin;
}
