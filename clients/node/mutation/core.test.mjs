// The rules of the near cache by themselves, without a server: a plain telling of what was
// heard, which forgets nothing and looks through all of it, says what a cache may keep.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Core } from '../dist/esm/core.js'

const DEFINITION = 'cache_notify/definition/1'

function make(limits = { maxEntries: 100 }) {
  const counts = {}
  const core = new Core(limits, {
    count: (event, reason = '') => {
      const name = reason === '' ? event : `${event} ${reason}`
      counts[name] = (counts[name] ?? 0) + 1
    },
  })
  core.extendLease(Infinity)
  return { core, counts }
}

const part = (some = {}) => ({ tenant: 't', domain: 'd', key: null, version: 1, sharedVersion: 0, ...some })
const entry = (parts, some = {}) => ({ value: 'v', token: 'token', parts, expires: Infinity, keepWhenEnded: false, ended: 0, ...some })
const change = (some = {}) => ({ tenant: 't', domain: 'd', version: 2, keys: null, ...some })
const internal = (p) => p.domain.startsWith('cache_notify/')
const folded = (key) => (key === null ? null : key.toLowerCase())
const namesKey = (c, key) => key === null || c.keys === null || c.keys.map(folded).includes(folded(key))

/** Everything that was heard (null: forgotten), and what is held. */
class Telling {
  heard = []
  held = new Map()

  known() {
    const last = this.heard.lastIndexOf(null)
    return this.heard.map((c, i) => [i, c]).filter(([i]) => i > last)
  }

  more(since, tenant, p, version) {
    const own = this.known().filter(([, c]) => c.tenant === tenant && c.domain === p.domain)
    return [
      own.filter(([, c]) => p.key === null || (c.keys !== null && namesKey(c, p.key))),
      own.filter(([, c]) => p.key !== null && c.keys === null),
      // What was told before concerns older fills: theirs is the higher of both.
    ].some((group) => group.length > 0 && group.at(-1)[0] >= since && Math.max(...group.map(([, c]) => c.version)) > version)
  }

  lacks(since, p) {
    if (this.more(since, null, p, p.sharedVersion)) return true
    if (p.tenant !== null && !internal(p)) return this.more(since, p.tenant, p, p.version)
    return this.known().some(([i, c]) => i >= since && c.domain === p.domain && namesKey(c, p.key))
  }

  refuses(since, parts) {
    return this.heard.slice(since).includes(null) || parts.some((p) => this.lacks(since, p))
  }

  outdates(c, parts) {
    const same = parts.filter((p) => p.domain === c.domain)
    const reached = same.some((p) => namesKey(c, p.key) && (c.tenant === null || p.tenant === null || p.tenant === c.tenant))
    return reached && same.some((p) => internal(p) || (c.tenant === null ? p.sharedVersion < c.version
      : p.tenant === null || (p.tenant === c.tenant && p.version < c.version)))
  }

  hear(c) {
    this.heard.push(c)
    for (const [name, parts] of [...this.held]) if (this.outdates(c, parts)) this.held.delete(name)
  }
}

// Random, but the same each time.
function dice(seed) {
  let state = seed
  const roll = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  return { roll, one: (of) => of[roll(of.length)] }
}

test('in any order, a cache keeps what the plain telling lets it keep', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const { roll, one } = dice(seed)
    const { core } = make()
    const telling = new Telling()
    const names = ['a', 'b', 'c']
    const tenants = [null, 't', 'u']
    const domains = ['d', 'e', DEFINITION]
    const somePart = () => part({ tenant: one(tenants), domain: one(domains), key: one([null, '1', 'k', 'K']), version: roll(7), sharedVersion: roll(7) })
    const fills = []
    let leased = true
    for (let step = 0; step < 60; step++) {
      const what = roll(20)
      if (what < 4) fills.push([core.ticket(), telling.heard.length])
      else if (what < 9) {
        const c = change({ tenant: one(tenants), domain: one(domains), version: roll(7), keys: one([null, [], ['1'], ['K'], ['1', 'k']]) })
        core.hear(c)
        telling.hear(c)
      } else if (what < 15 && fills.length > 0) {
        const [ticket, since] = one(fills)
        const parts = Array.from({ length: 1 + roll(3) }, somePart)
        const name = one(names)
        const refuses = telling.refuses(since, parts)
        assert.equal(core.outdated(ticket, parts), refuses)
        assert.equal(core.outdated(ticket, null), telling.heard.length > since)
        const kept = core.store(name, entry(parts), ticket)
        assert.equal(kept, leased && !refuses)
        if (kept) telling.held.set(name, parts)
      } else if (what === 15) {
        core.hearOwn(one(tenants), 'd')
        telling.hear(change({ tenant: null, version: Infinity }))
      } else if (what === 16) {
        core.reset('reset')
        telling.heard.push(null)
        telling.held.clear()
      } else if (what === 17) {
        core.listenAnew()
        telling.heard.push(null)
        for (const [name, parts] of [...telling.held]) if (parts.some(internal)) telling.held.delete(name)
      } else if (what === 18) {
        core.endLease()
        leased = false
      } else {
        core.extendLease(Infinity)
        leased = true
      }
      for (const name of names) {
        assert.equal(core.peek(name) !== undefined, telling.held.has(name), `${name} in step ${step} of ${seed}`)
        assert.equal(core.find(name) !== undefined, telling.held.has(name) && leased)
      }
      assert.equal(core.size, telling.held.size)
      const watched = [...telling.held].flatMap(([name, parts]) => parts.map((p) => JSON.stringify([p.domain, p.tenant, folded(p.key), name])))
      assert.equal(core.watched, new Set(watched).size)
      for (const [tenant, domain] of [[null, 'd'], ['t', 'd'], ['u', 'e']]) {
        const told = telling.known().filter(([, c]) => c.tenant === tenant && c.domain === domain).map(([, c]) => c.version)
        assert.equal(core.heardVersion(tenant, domain), told.length > 0 ? Math.max(...told) : undefined)
      }
    }
  }
})

test('expiry, and what may be served after it', () => {
  const { core, counts } = make()
  let now = 1000
  core.now = () => now
  core.store('late', entry([part()], { expires: 2000, keepWhenEnded: true }), core.ticket())
  core.store('plain', entry([part()], { expires: 2000 }), core.ticket())
  core.store('busy', entry([part()], { keepWhenEnded: true }), core.ticket())
  assert.equal(core.find('late').value, 'v')
  now = 2000
  assert.equal(core.peek('late'), undefined)
  assert.equal(core.size, 3)
  now = 2500
  assert.equal(core.find('late'), undefined)
  assert.equal(core.find('plain'), undefined)
  assert.equal(core.size, 1)
  assert.equal(core.ended('late').ended, 2000)
  assert.equal(core.ended('plain'), undefined)
  core.hear(change())
  assert.equal(core.ended('busy').ended, 2500)
  assert.deepEqual(counts, { stores: 3, 'drops expired': 2, 'drops changed': 1 })
  core.store('busy', entry([part({ version: 2 })]), core.ticket())
  assert.equal(core.ended('busy'), undefined)
})

test('the lease', () => {
  const { core, counts } = make()
  core.now = () => 1000
  core.extendLease(1000)
  assert.equal(core.listening, false)
  assert.equal(core.store('a', entry([part()]), core.ticket()), false)
  assert.deepEqual(counts, { 'refusals not_listening': 1 })
  core.extendLease(1001)
  assert.equal(core.listening, true)
  assert.equal(core.store('a', entry([part()]), core.ticket()), true)
  core.extendLease(1000)
  assert.equal(core.find('a'), undefined)
  assert.equal(core.size, 1)
})

test('what was read last is kept, and the rest of what goes goes', () => {
  const { core, counts } = make({ maxEntries: 2 })
  for (const name of ['a', 'b']) core.store(name, entry([part({ domain: name })]), core.ticket())
  core.find('a')
  core.store('c', entry([part({ domain: 'c' })]), core.ticket())
  assert.deepEqual(['a', 'b', 'c'].map((name) => core.peek(name) !== undefined), [true, false, true])
  assert.equal(core.watched, 2)
  core.store('c', entry([part({ domain: 'c' })], { value: 'again' }), core.ticket())
  assert.equal(core.find('c').value, 'again')
  assert.equal(core.watched, 2)
  assert.equal(counts['drops replaced'], 1)
})

test('size', () => {
  const { core, counts } = make({ maxEntries: 100, maxBytes: 10, sizeOf: (value) => value.length })
  assert.equal(core.store('a', entry([part()], { value: 'x'.repeat(10) }), core.ticket()), true)
  assert.equal(core.store('b', entry([part()], { value: 'x'.repeat(11) }), core.ticket()), false)
  assert.deepEqual(counts, { stores: 1, 'refusals too_large': 1 })
  assert.equal(core.store('c', entry([part()], { value: '' }), core.ticket()), true)
  const { core: plain } = make({ maxEntries: 100, maxBytes: 10 })
  assert.equal(plain.store('a', entry([part()], { value: 'x'.repeat(8) }), plain.ticket()), true)
  assert.equal(plain.store('b', entry([part()], { value: 'x'.repeat(9) }), plain.ticket()), false)
  assert.equal(plain.store('c', entry([part()], { value: undefined }), plain.ticket()), true)
})

test('why', () => {
  const { core, counts } = make()
  assert.equal(core.whyGone('a'), 'not there before')
  const ticket = core.ticket()
  core.hear(change())
  assert.equal(core.store('a', entry([part()]), ticket), false)
  core.reset('listener_lost')
  assert.deepEqual(counts, { 'refusals outdated': 1, 'resets listener_lost': 1 })
})

test("own writes of a tenant that is spelled otherwise, and nobody's", () => {
  const { core } = make()
  core.learnSpelling('T', [part()])
  core.store('mine', entry([part({ version: 10 })]), core.ticket())
  core.store('other', entry([part({ tenant: 'u' })]), core.ticket())
  const ticket = core.ticket()
  core.hearOwn('T', 'd')
  assert.equal(core.peek('mine'), undefined)
  assert.notEqual(core.peek('other'), undefined)
  assert.equal(core.outdated(ticket, [part({ tenant: 'u' })]), false)
  core.hearOwn('nobody', 'd')
  assert.equal(core.peek('other'), undefined)
})

test('more than can be remembered', () => {
  const { core } = make()
  const ticket = core.ticket()
  core.store('held', entry([part({ domain: 'held' })]), ticket)
  for (let i = 0; i < 100_000; i++) core.hear(change({ domain: `d${i % 70_000}`, version: 1, keys: i % 2 ? null : [] }))
  assert.equal(core.outdated(ticket, [part({ domain: 'never heard of' })]), true)
  assert.notEqual(core.find('held'), undefined)
})
