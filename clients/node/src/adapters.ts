/**
 * One small adapter for each kind of database object of an application, found by what the
 * object can do, never by instanceof: several copies of a driver do no harm.
 */
import type { Row } from './ask.js'

/** How to ask over one object of the application. */
export interface Adapter {
  /** What forms the rows of query(): rows of another one are another result. */
  readonly forms: string
  /** Whether others may use the object meanwhile (a pool). */
  readonly shared: boolean
  /** Whether a transaction is open that began before this call; null: not known. */
  inTransaction(): boolean | null
  /** The rows of one of our questions, with $1 and so on. */
  run(question: string, parameters: readonly (string | null)[]): Promise<readonly Row[]>
  /** The application's query, as its driver answers it. */
  query(statement: string, parameters: readonly unknown[]): Promise<unknown[]>
  /** Runs run() with a transaction of this object, or in the one that is open. */
  transaction<T>(run: (db: unknown) => Promise<T>): Promise<T>
}

type Anything = any // eslint-disable-line @typescript-eslint/no-explicit-any

const has = (db: Anything, ...methods: string[]): boolean =>
  methods.every((method) => typeof db[method] === 'function')

/** pg's own clients say in each ReadyForQuery whether they are in a transaction. */
const statuses = new WeakMap<object, { status: string | null }>()

function statusOf(client: Anything): { status: string | null } {
  let told = statuses.get(client)
  if (told === undefined) {
    const newly: { status: string | null } = { status: null }
    client.connection.on('readyForQuery', (message: { status: string }) => {
      newly.status = message.status
    })
    // A connection that breaks while nobody asks anything over it would end the process. It
    // is an error of the next question.
    if (has(client, 'on')) client.on('error', () => undefined)
    statuses.set(client, newly)
    told = newly
  }
  return told
}

const rowsOf = (result: Anything): unknown[] => {
  const last = Array.isArray(result) && result.length > 0 && result[0]?.rows ? result.at(-1) : result
  return Array.isArray(last) ? last : (last?.rows ?? [])
}

/** Of one connection, by statements. */
async function between<T>(db: Anything, run: (db: unknown) => Promise<T>): Promise<T> {
  await db.query('BEGIN')
  try {
    const value = await run(db)
    await db.query('COMMIT')
    return value
  } catch (error) {
    await db.query('ROLLBACK')
    throw error
  }
}

/** Of a connection of a pool. */
async function borrowed<T>(pool: Anything, run: (db: unknown) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  try {
    return await between(client, run)
  } finally {
    client.release()
  }
}

/** pg: Pool, Client and what pool.connect() gives; or any object with query(sql, params). */
function queryable(db: Anything, shared: boolean, inTransaction: () => boolean | null): Adapter {
  return {
    forms: 'pg',
    shared,
    inTransaction,
    run: async (question, parameters) => rowsOf(await db.query(question, [...parameters])) as Row[],
    query: async (statement, parameters) => rowsOf(await db.query(statement, [...parameters])),
    transaction(run) {
      if (shared) return borrowed(db, run)
      return inTransaction() === true ? run(db) : between(db, run)
    },
  }
}

/** postgres.js: sql, the sql of begin(), and that of reserve(), which may be in a transaction. */
function postgresJs(sql: Anything): Adapter {
  const within = has(sql, 'savepoint')
  const reserved = has(sql, 'release')
  return {
    forms: 'postgres',
    shared: !within && !reserved,
    inTransaction: () => (reserved ? null : within),
    // Prepared, unless the application forbids it: else it is two round trips each time.
    run: async (question, parameters) =>
      [...(await sql.unsafe(question, parameters, { prepare: true }))] as Row[],
    query: async (statement, parameters) => [...(await sql.unsafe(statement, parameters))],
    transaction: (run) => (within ? run(sql) : sql.begin(run)),
  }
}

/** Literals, quoted names, comments and question marks; or a parameter, whose number it has. */
const NOT_PARAMETERS =
  /[eE]'(?:[^'\\]|\\[^]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([\p{L}_][\p{L}\p{N}_]*)?\$[^]*?\$\1\$|--[^\n]*|\/\*[^]*?\*\/|\?|\$(\d+)/gu

/** Knex: the instance and its transactions. */
function knex(db: Anything): Adapter {
  const within = db.isTransaction === true
  const raw = async (statement: string, parameters: readonly unknown[]): Promise<unknown[]> => {
    // Knex has ? for parameters, wherever it stands; our questions and the application's have $1.
    const order: unknown[] = []
    const text = statement.replace(NOT_PARAMETERS, (found: string, _tag: string | undefined, n: string | undefined) => {
      if (n === undefined) return found.replaceAll('?', '\\?')
      order.push(parameters[Number(n) - 1])
      return '?'
    })
    return rowsOf(await db.raw(text, order))
  }
  return {
    forms: 'knex',
    shared: !within,
    inTransaction: () => within,
    run: (question, parameters) => raw(question, parameters) as Promise<Row[]>,
    query: raw,
    transaction: (run) => (within ? run(db) : db.transaction(run)),
  }
}

/** Kysely: the instance and its transactions. */
function kysely(db: Anything): Adapter {
  const within = db.isTransaction === true
  const run = async (statement: string, parameters: readonly unknown[]): Promise<unknown[]> => {
    const query = {
      sql: statement,
      parameters: [...parameters],
      query: { kind: 'RawNode', sqlFragments: [statement], parameters: [] },
      queryId: { queryId: 'cache-notify' },
    }
    return rowsOf(await db.executeQuery(query))
  }
  return {
    forms: 'kysely',
    shared: !within,
    inTransaction: () => within,
    run: (question, parameters) => run(question, parameters) as Promise<Row[]>,
    query: run,
    transaction: (inside) => (within ? inside(db) : db.transaction().execute(inside)),
  }
}

/** Drizzle: the client below it, or its transaction's. */
function drizzle(db: Anything): Adapter {
  const session = db.session ?? db._?.session
  const client = session?.client ?? db.$client
  if (client === undefined) {
    throw new TypeError('this drizzle object has no client of pg or postgres.js')
  }
  const below = adapterOf(client)
  // Its transactions have rollback(); their session's client is the transaction's own.
  if (has(db, 'rollback')) {
    return { ...below, shared: false, inTransaction: () => true, transaction: (run) => run(db) }
  }
  return { ...below, transaction: (run) => db.transaction(run) }
}

const found = new WeakMap<object, Adapter>()

/** The adapter of an object. TypeError for one that nobody knows. */
export function adapterOf(db: unknown): Adapter {
  if ((typeof db !== 'object' && typeof db !== 'function') || db === null) {
    throw new TypeError(`a database object is needed, not ${db === null ? 'null' : typeof db}`)
  }
  let adapter = found.get(db)
  if (adapter === undefined) found.set(db, (adapter = make(db)))
  return adapter
}

function make(db: Anything): Adapter {
  if (typeof db === 'function' && has(db, 'unsafe')) return postgresJs(db)
  if (has(db, 'raw') && 'client' in db && has(db, 'transaction')) return knex(db)
  if (has(db, 'executeQuery', 'selectFrom')) return kysely(db)
  if (has(db, 'select', 'execute', 'transaction')) return drizzle(db)
  if (has(db, 'query')) {
    if (has(db, 'connect') && 'totalCount' in db) return queryable(db, true, () => false)
    if (typeof db.connection?.on === 'function') {
      const told = statusOf(db)
      return queryable(db, false, () => (told.status === null ? null : told.status !== 'I'))
    }
    return queryable(db, false, () => null)
  }
  throw new TypeError(
    'this is no database object that the cache knows: pass one of pg, postgres.js, Knex, ' +
      'Drizzle or Kysely, or any object with query(sql, params)',
  )
}
