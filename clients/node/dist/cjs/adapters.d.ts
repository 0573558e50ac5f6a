/**
 * One small adapter for each kind of database object of an application, found by what the
 * object can do, never by instanceof: several copies of a driver do no harm.
 */
import type { Row } from './ask.js';
/** How to ask over one object of the application. */
export interface Adapter {
    /** Whether others may use the object meanwhile (a pool). */
    readonly shared: boolean;
    /** Whether a transaction is open that began before this call; null: not known. */
    inTransaction(): boolean | null;
    /** The rows of one of our questions, with $1 and so on. */
    run(question: string, parameters: readonly (string | null)[]): Promise<readonly Row[]>;
    /** The application's query, as its driver answers it. */
    query(statement: string, parameters: readonly unknown[]): Promise<unknown[]>;
}
/** The adapter of an object. TypeError for one that nobody knows. */
export declare function adapterOf(db: unknown): Adapter;
