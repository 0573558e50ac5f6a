/** The questions to the server. All parameters are texts, for every driver. */
import type { Part } from './heard.js'

/**
 * One statement, one snapshot: the token and the versions belong together. now() is the
 * same as statement_timestamp() only in the first statement of a transaction.
 */
export const ASK = `
  SELECT cache_notify.token($1::text, VARIADIC $2::text::text[]) AS token,
         pg_catalog.current_setting('transaction_isolation') = 'read committed' AS read_committed,
         pg_catalog.pg_is_in_recovery() AS in_recovery,
         pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL AS has_written,
         pg_catalog.now() <> pg_catalog.statement_timestamp() AS in_transaction,
         v.tenant_id, v.domain, v.key, v.version::text, v.shared_version::text, v.known
  FROM cache_notify.near_versions($1::text, VARIADIC $2::text::text[]) v`

export type Row = Record<string, unknown>

/** What the server says of the names that a result is made from. */
export interface Answer {
  /** null: do not cache */
  readonly token: string | null
  readonly whyNot: string
  readonly readCommitted: boolean
  readonly inRecovery: boolean
  readonly hasWritten: boolean
  readonly inTransaction: boolean
  readonly parts: readonly Part[]
}

export function answerOf(rows: readonly Row[]): Answer {
  const first = rows[0] ?? {}
  let token = (first['token'] ?? null) as string | null
  let whyNot = token === null ? 'changed_by_transaction' : ''
  const parts: Part[] = []
  for (const row of rows) {
    if (row['known'] !== true) {
      token = null
      whyNot = 'unknown_domain'
    } else if (row['version'] === null || row['shared_version'] === null) {
      token = null
    } else {
      parts.push({
        tenant: row['tenant_id'] as string | null,
        domain: row['domain'] as string,
        key: row['key'] as string | null,
        version: Number(row['version']),
        sharedVersion: Number(row['shared_version']),
      })
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
  }
}

/** Names as the text of an array. */
export function array(names: readonly string[]): string {
  return `{${names.map((name) => `"${name.replace(/[\\"]/g, '\\$&')}"`).join(',')}}`
}
