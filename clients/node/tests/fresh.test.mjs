// As somebody has it who has never heard of it: an empty folder, the tarball installed by npm,
// and the first lines of its README. A page is cached, and never stale; ES modules, CommonJS
// and TypeScript, with nothing beside it that only development has.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, test } from 'node:test'
import ts from 'typescript'
import { scenario } from './common.mjs'

const BUILD = resolve(import.meta.dirname, '../..')
const TSC = resolve(BUILD, '../node_modules/.bin/tsc')
const ROUNDS = 20
let folder

const run = (program, args, env = {}) =>
  execFileSync(program, args, { cwd: folder, env: { ...process.env, ...env }, encoding: 'utf8', timeout: 400_000 })

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'cache_notify.'))
  const tarball = readdirSync(BUILD).find((name) => name.endsWith('.tgz'))
  // npm writes to its cache, which others may use at the same time.
  cpSync(join(BUILD, 'npm-cache'), join(folder, 'npm-cache'), { recursive: true })
  run('npm', ['init', '--yes'])
  run('npm', ['install', '--offline', '--cache', 'npm-cache', '--no-audit', '--no-fund', join(BUILD, tarball)])
})
after(() => rmSync(folder, { recursive: true }))

/** The first program of the README that was installed. */
function shown() {
  const text = readFileSync(join(folder, 'node_modules/cache-notify/README.md'), 'utf8')
  return /^```ts\n(.*?)^```$/ms.exec(text)[1]
}

/** It, and what follows, with the address of the test. */
const program = () => (shown() + AFTER).replaceAll("'postgres://primary/shop'", 'process.env.DATABASE as string')

// After the lines of the README: the row changes while the page is read, by somebody else.
const AFTER = `
import { explain } from 'cache-notify'
const other = new pg.Pool({ connectionString: 'postgres://primary/shop' })
await cache.waitUntilListening()
let hits = 0
for (let n = 1; n <= ${ROUNDS}; n++) {
  const read = () => product(pool, 'acme', 42)
  await read()
  const [kept, what] = await explain(read)
  if (what.outcome === 'hit') hits += 1
  const before: unknown = kept.name
  await other.query('UPDATE product SET name = $1 WHERE id = 42', ['chair ' + n])
  const { rows } = await other.query('SELECT pg_sleep(0.05)')
  for (let i = 0; (await read()).name === before; i++) if (i > rows.length * 100_000) throw new Error('stale')
  for (let i = 0; i < 10; i++) {
    const { name } = await read()
    if (name !== 'chair ' + n) throw new Error(name + ' after ' + n)
  }
}
console.log(JSON.stringify({ hits, name: (await product(pool, 'acme', 42)).name }))
await cache.close()
await pool.end()
await other.end()
`

test('the README has ten lines for it', () => {
  const lines = shown().split('\n').filter((line) => line.trim() !== '' && !line.startsWith('import'))
  assert.ok(lines.length <= 10, `${lines.length}`)
})

test('a page is cached and never stale', () =>
  scenario(async ({ config, other }) => {
    await other.query(`CREATE TABLE product (id int PRIMARY KEY, tenant_id text, name text);
      INSERT INTO product VALUES (42, 'acme', 'chair');
      SELECT cache_notify.setup_table_invalidation('product', keys => '{id}', fields => '{keys}')`)
    const env = { DATABASE: `postgres:///${config.database}?host=${process.env.PGHOST}&port=${process.env.PGPORT}&user=${process.env.PGUSER}` }
    const { outputText } = ts.transpileModule(program(), { compilerOptions: { target: 'es2022', module: 'esnext' } })
    writeFileSync(join(folder, 'page.mjs'), outputText)
    const said = JSON.parse(run('node', ['page.mjs'], env).trim().split('\n').at(-1))
    assert.deepEqual(said, { hits: ROUNDS, name: `chair ${ROUNDS}` })
  }))

test('CommonJS, and both entries', () => {
  run('node', ['-e', `
    const { Cache } = require('cache-notify'), { FakeCache } = require('cache-notify/testing')
    if (!(new FakeCache() instanceof Cache)) throw new Error('two copies')`])
  run('node', ['--input-type=module', '-e', `
    import { Cache } from 'cache-notify'; import { FakeCache } from 'cache-notify/testing'
    if (!(new FakeCache() instanceof Cache)) throw new Error('two copies')`])
})

test('types, with nothing beside them', () => {
  writeFileSync(join(folder, 'page.mts'), program())
  cpSync(join(import.meta.dirname, 'types.ts'), join(folder, 'types.ts'))
  writeFileSync(join(folder, 'old.ts'), `
    import { Cache, RedisTier } from 'cache-notify'
    import { checkReads, FakeCache } from 'cache-notify/testing'
    export const made: Cache = new FakeCache({ tier: new RedisTier('redis://x') })
    export const checked: Promise<number> = checkReads({}, () => 1, { reads: ['price'] })`)
  // Declarations as well, once: that takes the compiler a while.
  for (const [module, resolution, skip] of [['nodenext', 'nodenext', 'false'], ['esnext', 'bundler', 'true']]) {
    run(TSC, ['--noEmit', '--strict', '--skipLibCheck', skip, '--exactOptionalPropertyTypes', '--target', 'es2022',
      '--module', module, '--moduleResolution', resolution, 'page.mts', 'types.ts', 'old.ts'])
  }
})
