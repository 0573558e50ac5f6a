// Each database object that an application may have, of the released libraries.
import assert from 'node:assert/strict'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleJs } from 'drizzle-orm/postgres-js'
import { sql as drizzleSql } from 'drizzle-orm'
import knex from 'knex'
import { Kysely, PostgresDialect, sql as kyselySql } from 'kysely'
import pg from 'pg'
import postgres from 'postgres'
import { connect, SUM } from './common.mjs'

export const UPDATE = 'UPDATE price SET amount = 99 WHERE id = 1'

// make(config): { db, sum(db), write(db), transaction(db, play), end() }
export const kinds = {
  'pg Pool': async (config) => {
    const db = new pg.Pool(config)
    return {
      db,
      sum: async (db) => (await db.query(SUM)).rows[0].sum,
      write: (db) => db.query(UPDATE),
      transaction: async (db, play) => {
        const client = await db.connect()
        await client.query('BEGIN')
        try {
          await play(client)
        } finally {
          await client.query('ROLLBACK')
          client.release()
        }
      },
      end: () => db.end(),
    }
  },
  'pg Client': async (config) => {
    const db = await connect(config)
    return {
      db,
      sum: async (db) => (await db.query(SUM)).rows[0].sum,
      write: (db) => db.query(UPDATE),
      transaction: async (db, play) => {
        await db.query('BEGIN')
        await play(db)
        await db.query('ROLLBACK')
      },
      end: () => db.end(),
    }
  },
  'any object with query()': async (config) => {
    const client = await connect(config)
    const db = { query: (...args) => client.query(...args) }
    return {
      db,
      sum: async (db) => (await db.query(SUM)).rows[0].sum,
      write: (db) => db.query(UPDATE),
      transaction: async (db, play) => {
        await db.query('BEGIN')
        await play(db)
        await db.query('ROLLBACK')
      },
      end: () => client.end(),
      alwaysAsks: true,
    }
  },
  'postgres.js': async (config) => {
    const db = postgres({
      host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
      ...config, max: 2, onnotice: () => undefined,
    })
    return {
      db,
      sum: async (db) => (await db.unsafe(SUM))[0].sum,
      write: (db) => db.unsafe(UPDATE),
      transaction: (db, play) =>
        db.begin(async (sql) => {
          await play(sql)
          throw new Error('rollback')
        }).catch((error) => assert.equal(error.message, 'rollback')),
      end: () => db.end(),
    }
  },
  Knex: async (config) => {
    const db = knex({ client: 'pg', connection: config })
    return {
      db,
      sum: async (db) => (await db.raw(SUM)).rows[0].sum,
      write: (db) => db.raw(UPDATE),
      transaction: async (db, play) => {
        const trx = await db.transaction()
        await play(trx)
        await trx.rollback()
      },
      end: () => db.destroy(),
    }
  },
  Kysely: async (config) => {
    const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool(config) }) })
    return {
      db,
      sum: async (db) => (await kyselySql.raw(SUM).execute(db)).rows[0].sum,
      write: (db) => kyselySql.raw(UPDATE).execute(db),
      transaction: (db, play) =>
        db.transaction().execute(async (trx) => {
          await play(trx)
          throw new Error('rollback')
        }).catch((error) => assert.equal(error.message, 'rollback')),
      end: () => db.destroy(),
    }
  },
  'Drizzle over pg': async (config) => {
    const pool = new pg.Pool(config)
    const db = drizzle(pool)
    return {
      db,
      sum: async (db) => (await db.execute(drizzleSql.raw(SUM))).rows[0].sum,
      write: (db) => db.execute(drizzleSql.raw(UPDATE)),
      transaction: (db, play) =>
        db.transaction(async (trx) => {
          await play(trx)
          throw new Error('rollback')
        }).catch((error) => assert.equal(error.message, 'rollback')),
      end: () => pool.end(),
    }
  },
  'Drizzle over postgres.js': async (config) => {
    const client = postgres({
      host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
      ...config, max: 2, onnotice: () => undefined,
    })
    const db = drizzleJs(client)
    return {
      db,
      sum: async (db) => (await db.execute(drizzleSql.raw(SUM)))[0].sum,
      write: (db) => db.execute(drizzleSql.raw(UPDATE)),
      transaction: (db, play) =>
        db.transaction(async (trx) => {
          await play(trx)
          throw new Error('rollback')
        }).catch((error) => assert.equal(error.message, 'rollback')),
      end: () => client.end(),
    }
  },
}
