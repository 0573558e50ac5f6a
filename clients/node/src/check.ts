/**
 * Whether reads names everything that a loader reads, by what the server locked for it.
 *
 * Within a transaction every relation that a statement names, itself or through views, rules,
 * policies and functions, stays locked, whether or not a row of it was looked at. So the locks
 * say what a loader reads, whichever driver or mapper it uses.
 */
import { adapterOf } from './adapters.js'
import type { Adapter } from './adapters.js'
import { ASK, answerOf, array } from './ask.js'
import type { Row } from './ask.js'
import { readNames, tenantText } from './names.js'
import type { Name } from './names.js'

/**
 * Scans are counted for a caller who is in a transaction already, and may have locked
 * everything before.
 */
const READ = `
  SELECT c.oid::text,
         pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
         (coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0))::text AS scans,
         EXISTS (SELECT FROM pg_catalog.pg_locks l
                 WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
                 AND l.relation = c.oid
                 AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                   WHERE d.datname = pg_catalog.current_database())) AS locked,
         pg_catalog.transaction_timestamp()::text AS began
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_stat_xact_all_tables s ON s.relid = c.oid
  WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast',
                        'cache_notify', '_cache_notify')`

/** Not what redefines a relation, which no list of reads names. */
const FED = `
  SELECT d.certainty, d.domain, d.reason
  FROM cache_notify.domains_of('SELECT * FROM ' || $1::text) d
  WHERE d.certainty <> 'definition'`

const RULES = `
  SELECT r.source_domain AS source, r.target_domain AS target FROM cache_notify.v_cascade_rules r
  WHERE r.rule_type = 'invalidate'`

/** A loader reads what reads does not name; the message says what. */
export class MissingReads extends Error {
  override name = 'MissingReads'
}

export interface CheckOptions {
  /** What the loader is said to read. */
  reads: readonly string[]
  /** Whose rows. Left out: any tenant's. */
  tenant?: Name
  /** Tables that need not be in reads, as schema.table. */
  ignore?: readonly string[]
}

/**
 * Runs load() in a transaction, and throws MissingReads if that read a table none of whose
 * domains is in reads, or one that is not watched. Returns what load() returned.
 *
 * db: any database object that a Cache takes; load() gets the transaction. It looks at whole
 * domains: whether the keys and the tenant are the right ones, it cannot say; nor does it see
 * what changes by itself (now()), which query() does.
 */
export async function checkReads<DB, T>(
  db: DB,
  load: (db: DB) => Promise<T> | T,
  options: CheckOptions,
): Promise<T> {
  const told = readNames(options.reads)
  const ignored = new Set(options.ignore)
  const whose = 'tenant' in options ? tenantText(options.tenant) : null
  return adapterOf(db).transaction(async (it) => {
    const within = adapterOf(it)
    const before = await look(within)
    const value = await load(it as DB)
    const after = await look(within)
    if (before.began !== after.began) {
      throw new Error('the loader has ended the transaction in which it was looked at')
    }
    const tables = [...after.tables].filter(([oid, { name, scans, locked }]) => {
      const then = before.tables.get(oid)
      return !ignored.has(name) && ((locked && then?.locked !== true) || scans > (then?.scans ?? 0))
    })
    await complain(within, tables.map(([, { name }]) => name).sort(), told, whose)
    return value
  })
}

interface Table {
  readonly name: string
  readonly scans: number
  readonly locked: boolean
}

async function look(adapter: Adapter): Promise<{ began: unknown; tables: Map<unknown, Table> }> {
  const rows = await adapter.run(READ, [])
  const tables = rows.map((row): [unknown, Table] => [
    row['oid'],
    { name: String(row['name']), scans: Number(row['scans']), locked: row['locked'] === true },
  ])
  return { began: rows[0]?.['began'], tables: new Map(tables) }
}

async function complain(
  adapter: Adapter,
  tables: readonly string[],
  told: readonly string[],
  tenant: string | null,
): Promise<void> {
  const answer = answerOf(await adapter.run(ASK, [tenant, array(told)]))
  if (answer.whyNot === 'unknown_domain') {
    throw new MissingReads(`nothing feeds one of the domains ${told.join(', ')}`)
  }
  const covered = new Set(answer.parts.map((part) => part.domain))
  const rules = await adapter.run(RULES, [])
  const complaints: string[] = []
  for (const table of tables) {
    const complaint = complaintOf(table, await adapter.run(FED, [table]), rules, covered)
    if (complaint !== undefined) complaints.push(complaint)
  }
  if (complaints.length > 0) {
    throw new MissingReads(
      `reads: ${JSON.stringify(told)} is not all that the loader reads:\n  ${complaints.join('\n  ')}`,
    )
  }
}

/** What reads lacks for this table; undefined if nothing. */
function complaintOf(
  table: string,
  fed: readonly Row[],
  rules: readonly Row[],
  covered: ReadonlySet<string>,
): string | undefined {
  const domains = fed.filter((row) => row['certainty'] === 'exact').map((row) => String(row['domain']))
  if (domains.length === 0) {
    const why = [...new Set(fed.map((row) => String(row['reason'])))].sort()
    return `${table}: not watched (${why.join('; ')})`
  }
  const reached = new Set(domains)
  for (let before = 0; before < reached.size; ) {
    before = reached.size
    for (const rule of rules) if (reached.has(String(rule['source']))) reached.add(String(rule['target']))
  }
  if ([...reached].some((domain) => covered.has(domain))) return undefined
  return `${table}: add ${[...new Set(domains)].sort().map((domain) => `'${domain}'`).join(' or ')}`
}
