"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.ASK = void 0;
exports.answerOf = answerOf;
exports.array = array;
/**
 * One statement, one snapshot: the token and the versions belong together. now() is the
 * same as statement_timestamp() only in the first statement of a transaction.
 */
exports.ASK = `
  SELECT cache_notify.token($1::text, VARIADIC $2::text::text[]) AS token,
         pg_catalog.current_setting('transaction_isolation') = 'read committed' AS read_committed,
         pg_catalog.pg_is_in_recovery() AS in_recovery,
         pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL AS has_written,
         pg_catalog.now() <> pg_catalog.statement_timestamp() AS in_transaction,
         v.tenant_id, v.domain, v.key, v.version::text, v.shared_version::text, v.known
  FROM cache_notify.near_versions($1::text, VARIADIC $2::text::text[]) v`;
function answerOf(rows) {
    const first = rows[0] ?? {};
    let token = (first['token'] ?? null);
    let whyNot = token === null ? 'changed_by_transaction' : '';
    const parts = [];
    for (const row of rows) {
        if (row['known'] !== true) {
            token = null;
            whyNot = 'unknown_domain';
        }
        else if (row['version'] === null || row['shared_version'] === null) {
            token = null;
        }
        else {
            parts.push({
                tenant: row['tenant_id'],
                domain: row['domain'],
                key: row['key'],
                version: Number(row['version']),
                sharedVersion: Number(row['shared_version']),
            });
        }
    }
    return {
        token,
        whyNot,
        readCommitted: first['read_committed'] === true,
        inRecovery: first['in_recovery'] === true,
        hasWritten: first['has_written'] === true,
        inTransaction: first['in_transaction'] === true,
        parts,
    };
}
/** Names as the text of an array. */
function array(names) {
    return `{${names.map((name) => `"${name.replace(/[\\"]/g, '\\$&')}"`).join(',')}}`;
}
