/** Tests of the shop over HTTP: what its pages show, and what they say of the cache. */
import assert from 'node:assert/strict'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { Cache } from 'cache-notify'
import pg from 'pg'
import { makeApp } from '../src/shop.js'

const pool = new pg.Pool()
const database = new pg.Pool({ max: 1 })
const cache = new Cache({ listen: {} })
let server: Server
let address: string

before(async () => {
  server = makeApp(pool, cache).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  assert.ok(await cache.waitUntilListening())
})

after(async () => {
  server.close()
  await cache.close()
  await Promise.all([pool.end(), database.end()])
})

beforeEach(async () => {
  await database.query('UPDATE product SET price = CASE id WHEN 1 THEN 40 ELSE 250 END WHERE id < 3')
  cache.forgetAll()
})

/** A page, and what the cache did for it. */
async function get(path: string): Promise<[string, string]> {
  const answer = await fetch(address + path)
  assert.equal(answer.status, 200)
  const text = await answer.text()
  const told = /<footer>[^:]*: (.*)<\/footer>/.exec(text)?.[1] ?? ''
  return [text, told]
}

/** What the cache says once the page shows the text: a change is heard within milliseconds. */
async function until(path: string, text: string): Promise<string> {
  for (let i = 0; i < 500; i += 1) {
    const [page, told] = await get(path)
    if (page.includes(text)) return told
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`${path} does not show ${text}`)
}

const post = (path: string, price: string): Promise<Response> =>
  fetch(address + path, { method: 'POST', body: new URLSearchParams({ price }) })

test('a page is kept until something changes', async () => {
  assert.match((await get('/acme'))[1], /^miss \(/)
  assert.equal((await get('/acme'))[1], 'hit (in memory)')
  await database.query('UPDATE product SET price = 41 WHERE id = 1')
  assert.equal(await until('/acme', '41.00'), 'miss (product of acme has changed)')
  assert.equal((await get('/acme'))[1], 'hit (in memory)')
})

test('another row or tenant does not matter', async () => {
  for (const path of ['/acme/1', '/globex']) await get(path)
  await database.query('UPDATE product SET price = 251 WHERE id = 2')
  await until('/acme/2', '251')
  await until('/acme', '251')
  for (const path of ['/acme/1', '/globex']) assert.equal((await get(path))[1], 'hit (in memory)')
})

test('the writer sees his change at once', async () => {
  for (let price = 1; price < 30; price += 1) {
    await get('/acme/1')
    await get('/acme')
    const answer = await post('/acme/1', String(price))
    assert.match(await answer.text(), new RegExp(`value="${price}.00"`))
    assert.ok((await get('/acme'))[0].includes(`>${price}.00`))
  }
})

test('what is not there', async () => {
  for (const path of ['/globex/1', '/acme/x', '/globex/1']) {
    assert.equal((await fetch(address + path)).status, 404)
  }
  assert.equal((await post('/acme/1', '-1')).status, 422)
})

test('metrics', async () => {
  await get('/acme')
  await get('/acme')
  const text = await (await fetch(`${address}/metrics`)).text()
  assert.match(text, /cache_notify_client_hits_total [1-9]/)
})
