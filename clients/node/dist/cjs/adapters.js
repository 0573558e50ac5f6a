"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.adapterOf = adapterOf;
const has = (db, ...methods) => methods.every((method) => typeof db[method] === 'function');
/** pg's own clients say in each ReadyForQuery whether they are in a transaction. */
const statuses = new WeakMap();
function statusOf(client) {
    let told = statuses.get(client);
    if (told === undefined) {
        const newly = { status: null };
        client.connection.on('readyForQuery', (message) => {
            newly.status = message.status;
        });
        statuses.set(client, newly);
        told = newly;
    }
    return told;
}
const rowsOf = (result) => {
    const last = Array.isArray(result) && result.length > 0 && result[0]?.rows ? result.at(-1) : result;
    return Array.isArray(last) ? last : (last?.rows ?? []);
};
/** pg: Pool, Client and what pool.connect() gives; or any object with query(sql, params). */
function queryable(db, shared, inTransaction) {
    return {
        shared,
        inTransaction,
        run: async (question, parameters) => rowsOf(await db.query(question, [...parameters])),
        query: async (statement, parameters) => rowsOf(await db.query(statement, [...parameters])),
    };
}
/** postgres.js: sql, and the sql of begin(). */
function postgresJs(sql) {
    const within = has(sql, 'savepoint');
    return {
        shared: !within,
        inTransaction: () => within,
        run: async (question, parameters) => [...(await sql.unsafe(question, parameters))],
        query: async (statement, parameters) => [...(await sql.unsafe(statement, parameters))],
    };
}
/** Knex: the instance and its transactions. */
function knex(db) {
    const within = db.isTransaction === true;
    const raw = async (statement, parameters) => {
        // Knex has ? for parameters; our questions and the application's have $1.
        const order = [];
        const text = statement.replace(/\?|\$(\d+)/g, (found, n) => {
            if (n === undefined)
                return '\\?';
            order.push(parameters[Number(n) - 1]);
            return '?';
        });
        return rowsOf(await db.raw(text, order));
    };
    return {
        shared: !within,
        inTransaction: () => within,
        run: (question, parameters) => raw(question, parameters),
        query: raw,
    };
}
/** Kysely: the instance and its transactions. */
function kysely(db) {
    const within = db.isTransaction === true;
    const run = async (statement, parameters) => {
        const query = {
            sql: statement,
            parameters: [...parameters],
            query: { kind: 'RawNode', sqlFragments: [statement], parameters: [] },
            queryId: { queryId: 'cache-notify' },
        };
        return rowsOf(await db.executeQuery(query));
    };
    return {
        shared: !within,
        inTransaction: () => within,
        run: (question, parameters) => run(question, parameters),
        query: run,
    };
}
/** Drizzle: the client below it, or its transaction's. */
function drizzle(db) {
    const session = db.session ?? db._?.session;
    const client = session?.client ?? db.$client;
    if (client === undefined) {
        throw new TypeError('this drizzle object has no client of pg or postgres.js');
    }
    const below = adapterOf(client);
    // Its transactions have rollback(); their session's client is the transaction's own.
    return has(db, 'rollback') ? { ...below, shared: false, inTransaction: () => true } : below;
}
const found = new WeakMap();
/** The adapter of an object. TypeError for one that nobody knows. */
function adapterOf(db) {
    if ((typeof db !== 'object' && typeof db !== 'function') || db === null) {
        throw new TypeError(`a database object is needed, not ${db === null ? 'null' : typeof db}`);
    }
    let adapter = found.get(db);
    if (adapter === undefined)
        found.set(db, (adapter = make(db)));
    return adapter;
}
function make(db) {
    if (typeof db === 'function' && has(db, 'unsafe'))
        return postgresJs(db);
    if (has(db, 'raw') && 'client' in db && has(db, 'transaction'))
        return knex(db);
    if (has(db, 'executeQuery', 'selectFrom'))
        return kysely(db);
    if (has(db, 'select', 'execute', 'transaction'))
        return drizzle(db);
    if (has(db, 'query')) {
        if (has(db, 'connect') && 'totalCount' in db)
            return queryable(db, true, () => false);
        if (typeof db.connection?.on === 'function') {
            const told = statusOf(db);
            return queryable(db, false, () => (told.status === null ? null : told.status !== 'I'));
        }
        return queryable(db, false, () => null);
    }
    throw new TypeError('this is no database object that the cache knows: pass one of pg, postgres.js, Knex, ' +
        'Drizzle or Kysely, or any object with query(sql, params)');
}
