// What responses say of themselves to HTTP caches: tags, an ETag, 304. That tags are purged,
// and how soon, clients/python/tests/test_http.py shows with a real Varnish.
import assert from 'node:assert/strict'
import { createServer, get as request } from 'node:http'
import { test } from 'node:test'
import { surrogateKeys, uncacheable } from 'cache-notify'
import { scenario, until } from './common.mjs'

/** Runs play({ cache, pool, other, get }) with a server whose pages are made by pages[path](). */
const serving = (pages, play, options = {}) =>
  scenario(async (rest) => {
    const middleware = surrogateKeys(options)
    const server = createServer((request, response) =>
      middleware(request, response, () => void pages[request.url]({ ...rest, request, response })),
    )
    await new Promise((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address()
    const get = (path, headers = {}) =>
      new Promise((done, failed) => {
        request({ port, path, headers, agent: false }, (answer) => {
          let text = ''
          answer.on('data', (data) => (text += data))
          answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, text }))
        }).on('error', failed)
      })
    try {
      await play({ ...rest, get })
    } finally {
      server.close()
    }
  })

const price = (id, tenant = 'acme') =>
  async ({ cache, pool, response }) => {
    const load = async (db) => (await db.query('SELECT amount::int FROM price WHERE id = $1', [id])).rows[0].amount
    response.end(String(await cache.get(pool, `price ${id}`, load, { reads: [`price/${id}`], tenant })))
  }

const all = async ({ cache, pool }) =>
  cache.get(pool, 'all', async (db) => (await db.query('SELECT sum(amount)::int FROM price')).rows, { reads: ['price'] })

test('tags and an ETag of what was read; 304 until it changes', async () => {
  await serving({ '/1': price(1), '/2': price(2) }, async ({ get, other, cache }) => {
    const first = await get('/1')
    const tags = first.headers['surrogate-key'].split(' ')
    assert.deepEqual(first.headers['cache-tag'].split(','), tags)
    // The same as the Python package makes: all, a key of a tenant, any key without one.
    for (const tag of TAGS) assert.ok(tags.includes(tag), tag)
    const { etag } = first.headers
    assert.match(etag, /^W\/"/)
    const again = await get('/1', { 'If-None-Match': `"x", ${etag}` })
    assert.deepEqual([again.status, again.text], [304, ''])
    assert.equal(again.headers['surrogate-key'], first.headers['surrogate-key'])
    assert.notEqual((await get('/2')).headers.etag, etag)
    // Another row moves the domain's version, and not this ETag.
    await other.query('UPDATE price SET amount = 11 WHERE id = 2')
    cache.forgetAll()
    assert.equal((await get('/1', { 'If-None-Match': etag })).status, 304)
    await other.query('UPDATE price SET amount = 12 WHERE id = 1')
    await until(async () => (await get('/1')).text === '12')
    assert.equal((await get('/1', { 'If-None-Match': etag })).status, 200)
  })
})

const TAGS = ['mmBRbKZoEtV9', 'ZdOkxyR-KuG1', 'QXKWvcvGTW1D']

const unknown = {
  async '/plain'({ cache, pool, response }) {
    await cache.get(pool, 'n', async (db) => (await db.query('SELECT n FROM plain')).rows, { reads: ['plain'] })
    response.end('x')
  },
  async '/cookie'(it) {
    await all(it)
    it.response.setHeader('Set-Cookie', 'who=me').end('x')
  },
  async '/private'(it) {
    await all(it)
    it.response.setHeader('Cache-Control', 'private, max-age=3').end('x')
  },
  async '/stream'(it) {
    await all(it)
    it.response.write('x')
    it.response.end('y')
  },
  '/nothing'({ response }) {
    response.end('x')
  },
  async '/outside'(it) {
    uncacheable()
    await all(it)
    it.response.end('x')
  },
  async '/now'({ cache, pool, response }) {
    await cache.query(pool, 'SELECT now(), sum(amount) FROM price')
    response.end('x')
  },
  async '/broken'(it) {
    await all(it)
    const fails = (db) => db.query('SELECT 1 / 0')
    await it.cache.get(it.pool, 'broken', fails, { reads: ['price'] }).catch(() => undefined)
    it.response.end('x')
  },
  async '/disabled'(it) {
    await it.cache.disabled(() => all(it))
    it.response.end('x')
  },
  async '/slow'(it) {
    await all(it)
    await new Promise((done) => setTimeout(done, 400))
    it.response.end('x')
  },
}

test('what depends on something unknown, or on a user, is never cached', async () => {
  await serving({ ...unknown, '/all': async (it) => it.response.end(String((await all(it)).length)) },
    async ({ get }) => {
      for (const path of Object.keys(unknown)) {
        for (let time = 0; time < 2; time += 1) {
          const { status, headers } = await get(path, { 'If-None-Match': '*' })
          assert.deepEqual([status, headers.etag, headers['surrogate-key']], [200, undefined, undefined], path)
          assert.match(headers['surrogate-control'], /^no-store, max-age=0, /, path)
        }
      }
      assert.equal((await get('/all', { Cookie: 'me' })).headers.etag, undefined)
      assert.equal((await get('/all', { Cookie: 'me' })).headers['cache-control'], 'private')
      assert.equal((await get('/slow')).headers['cache-control'], undefined)
      assert.equal((await get('/all', { Authorization: 'me' })).headers.etag, undefined)
      assert.ok((await get('/all')).headers.etag)
      assert.equal((await get('/all', { 'If-None-Match': '*' })).status, 304)
    }, { within: 300 })
})

test('requests at the same time do not mix what they read', async () => {
  await serving({ '/1': price(1), '/4': price(4, 'globex') }, async ({ get }) => {
    const [one, four] = await Promise.all([get('/1'), get('/4')])
    const common = one.headers['surrogate-key'].split(' ').filter((tag) => four.headers['surrogate-key'].includes(tag))
    assert.equal(common.length, 2) // all, and any key without a tenant
    const many = await Promise.all(Array.from({ length: 20 }, () => get('/1')))
    for (const each of many) assert.equal(each.headers.etag, one.headers.etag)
  })
})
