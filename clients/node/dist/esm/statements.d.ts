/** query(): the server finds out what a statement reads, and the cache remembers it. */
import type { Adapter } from './adapters.js';
import type { Log } from './listener.js';
/** What statements read: names, none if the result cannot be cached. */
export declare class Statements {
    private readonly log;
    private readonly known;
    private generation;
    constructor(log: Log);
    /** The names, if they are remembered. */
    find(statement: string): readonly string[] | undefined;
    /** Forgets all: a definition has moved. */
    forget(): void;
    /** Asks the server, and remembers. */
    analyse(adapter: Adapter, statement: string): Promise<readonly string[]>;
}
