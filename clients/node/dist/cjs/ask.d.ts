/** The questions to the server. All parameters are texts, for every driver. */
import type { Part } from './core.js';
/**
 * One statement, one snapshot: the token and the versions belong together. now() is the
 * same as statement_timestamp() only in the first statement of a transaction.
 */
export declare const ASK = "\n  SELECT cache_notify.token($1::text, VARIADIC $2::text::text[]) AS token,\n         pg_catalog.current_setting('transaction_isolation') = 'read committed' AS read_committed,\n         pg_catalog.pg_is_in_recovery() AS in_recovery,\n         pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL AS has_written,\n         pg_catalog.now() <> pg_catalog.statement_timestamp() AS in_transaction,\n         v.tenant_id, v.domain, v.key, v.version::text, v.shared_version::text, v.known\n  FROM cache_notify.near_versions($1::text, VARIADIC $2::text::text[]) v";
export type Row = Record<string, unknown>;
/** What the server says of the names that a result is made from. */
export interface Answer {
    /** null: do not cache */
    readonly token: string | null;
    readonly whyNot: string;
    readonly readCommitted: boolean;
    readonly inRecovery: boolean;
    readonly hasWritten: boolean;
    readonly inTransaction: boolean;
    readonly parts: readonly Part[];
}
export declare function answerOf(rows: readonly Row[]): Answer;
/** Names as the text of an array. */
export declare function array(names: readonly string[]): string;
