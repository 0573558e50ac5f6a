// PostGraphile in watch mode, as released, versions 4 and 5: DDL makes it rebuild its
// schema, which it then serves over HTTP. cache_notify takes the place of the event
// triggers that PostGraphile would create. Says in TAP whether it followed, and
// whether it hears of everything that it would hear of by its own.
const { execFileSync, spawn } = require('node:child_process');
const { existsSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { isDeepStrictEqual } = require('node:util');
const { Client } = require('pg');

const ROOT = path.join(__dirname, '../../..');
const WAIT = 60000; // ms for what must come
const THROTTLE = 750; // ms for which version 4 puts off a second rebuild
const NODE_22 = ['x64', 'arm64'].map((arch) => path.join(__dirname, `build/v5/node-linux-${arch}/bin/node`))
  .find(existsSync) ?? process.execPath;

let count = 0;
let failed = 0;
function ok(passed, name, details) {
  count += 1;
  if (!passed) failed += 1;
  console.log(`${passed ? '' : 'not '}ok ${count} - ${name}`);
  if (!passed && details !== undefined) console.log(`# ${JSON.stringify(details)}`);
}
function equal(got, expected, name) {
  ok(isDeepStrictEqual(got, expected), name, { got, expected });
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// The first result that is not false, or the last one.
async function soon(attempt) {
  const deadline = Date.now() + WAIT;
  for (;;) {
    const result = await attempt();
    if (result || Date.now() > deadline) return result;
    await pause(20);
  }
}

// A session that keeps what it hears.
class Listener {
  constructor() {
    this.heard = [];
    this.client = new Client();
    this.client.on('notification', ({ channel, payload }) => this.heard.push({ channel, payload }));
  }

  async start(...channels) {
    await this.client.connect();
    for (const channel of channels) await this.client.query(`LISTEN ${channel}`);
    return this;
  }

  // What has come on each channel. A mark that goes the same way comes after it, or
  // together with it.
  async take(session, ...channels) {
    this.marks = (this.marks ?? 0) + 1;
    await session.query(`SELECT cache_notify.invalidate('mark ${this.marks}')`);
    await soon(() => this.heard.some((n) => n.payload.includes(`"mark ${this.marks}"`)));
    await this.client.query('SELECT 1');
    const { heard } = this;
    this.heard = [];
    return channels.map((channel) => heard.filter((n) => n.channel === channel).map((n) => n.payload).sort());
  }
}

// A server as a process of its own.
class Server {
  constructor(node, script, modules) {
    this.log = '';
    this.process = spawn(node, [script], {
      env: { ...process.env, PORT: '0', NODE_PATH: modules, DEBUG: 'graphile-build-pg', GRAPHILE_ENV: 'development' },
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (data) => { this.log += data; });
    }
    process.on('exit', () => this.process.kill('SIGKILL'));
  }

  async start() {
    this.url = await soon(() => this.log.match(/http:\S+graphql/)?.[0]);
    return this;
  }

  // The answer to a query, once the server is able to give it.
  async query(query) {
    const answer = await fetch(this.url, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query }),
    });
    return answer.json();
  }

  answers(query) {
    return soon(async () => {
      const { data, errors } = await this.query(query).catch((error) => ({ errors: error }));
      return errors ? false : data;
    });
  }

  // Does it know no longer what a query asks for?
  refuses(query) {
    return soon(async () => (await this.query(query)).errors?.[0].message.startsWith('Cannot query field'));
  }

  // How often version 4 has built its schema anew.
  rebuilds() {
    return this.log.split('re-inspecting schema complete').length - 1;
  }

  stop() {
    this.process.kill();
  }
}

// Is the server listening? What it hears first makes it build its schema.
async function watching(session, server) {
  let n = 0;
  return soon(async () => {
    n += 1;
    await session.query(`COMMENT ON TABLE app.thing IS 'attempt ${n}'`);
    await pause(200);
    return (await server.query(`{__type(name: "Thing") {description}}`))
      .data?.__type?.description?.startsWith('attempt');
  });
}

// What every version must follow.
async function follow(session, server, version) {
  const name = (text) => `version ${version}: ${text}`;

  ok(server.url, name('the server has started'), server.log);
  equal(await server.answers('{allThings {nodes {number}}}'), { allThings: { nodes: [{ number: 1 }] } },
    name('it serves a table'));
  ok(await watching(session, server), name('it watches'), server.log);

  await session.query(`ALTER TABLE app.thing ADD colour text DEFAULT 'red'`);
  equal(await server.answers('{allThings {nodes {colour}}}'), { allThings: { nodes: [{ colour: 'red' }] } },
    name('a new column is served'));
  await session.query('ALTER TABLE app.thing RENAME colour TO paint');
  equal(await server.answers('{allThings {nodes {paint}}}'), { allThings: { nodes: [{ paint: 'red' }] } },
    name('by its new name'));
  await session.query('ALTER TABLE app.thing DROP paint');
  ok(await server.refuses('{allThings {nodes {paint}}}'), name('a dropped column is not'));

  await session.query(`BEGIN; CREATE TABLE app.part (number int PRIMARY KEY, thing int REFERENCES app.thing);
    CREATE FUNCTION app.answer() RETURNS int LANGUAGE sql STABLE AS 'SELECT 42'; COMMIT`);
  equal(await server.answers('{answer allParts {nodes {number}}}'), { answer: 42, allParts: { nodes: [] } },
    name('a table and a function of one transaction are served'));
  await session.query('DROP FUNCTION app.answer()');
  ok(await server.refuses('{answer}'), name('a dropped function is not'));
  await session.query('BEGIN; DROP TABLE app.part; ROLLBACK');
  await session.query(`CREATE FUNCTION app.next() RETURNS int LANGUAGE sql STABLE AS 'SELECT 43'`);
  equal(await server.answers('{next allParts {nodes {number}}}'), { next: 43, allParts: { nodes: [] } },
    name('what was rolled back goes on being served'));
  await session.query('DROP TABLE app.part; DROP FUNCTION app.next()');
  ok(await server.refuses('{allParts {nodes {number}}}'), name('a dropped table is not served'));

  // So many schemas that a payload cannot list them.
  const names = Array.from({ length: 150 }, (_, i) => `${'x'.repeat(59)}${String(i).padStart(4, '0')}`);
  await session.query(`CREATE SCHEMA ${names.join('; CREATE SCHEMA ')}`);
  await session.query(`BEGIN; CREATE VIEW app.many AS SELECT 1 AS number;
    ${names.map((schema) => `CREATE VIEW ${schema}.v AS SELECT 1`).join('; ')}; COMMIT`);
  equal(await server.answers('{allManies {nodes {number}}}'), { allManies: { nodes: [{ number: 1 }] } },
    name('a change among too many to list is served'));
  await session.query(`SET client_min_messages = error;
    BEGIN; DROP VIEW app.many; DROP SCHEMA ${names.join(', ')} CASCADE; COMMIT`);
  ok(await server.refuses('{allManies {nodes {number}}}'), name('a drop among too many to list as well'));
}

// Version 4 says when it rebuilds, and looks at the payload.
async function onlyWhenNeeded(session, server) {
  for (const [what, command] of [
    ['a temporary table', 'CREATE TEMP TABLE t (id int PRIMARY KEY); DROP TABLE t'],
    ['another schema', 'CREATE TABLE other.t (id int PRIMARY KEY); DROP TABLE other.t'],
    ['the triggers of a watched table', `SELECT cache_notify.setup_table_invalidation('app.thing');
      SELECT cache_notify.remove_table_invalidation('app.thing')`],
  ]) {
    await pause(2 * THROTTLE); // so that the next one would not be put off
    const before = server.rebuilds();
    await session.query(command);
    await pause(THROTTLE / 2);
    await session.query('ALTER TABLE app.thing ADD mark int');
    await server.answers('{allThings {nodes {mark}}}');
    equal(server.rebuilds() - before, 1, `version 4: ${what} makes it rebuild nothing`);
    await session.query('ALTER TABLE app.thing DROP mark');
    await server.refuses('{allThings {nodes {mark}}}');
  }
}

// Does a payload make version 4, which watches the schema "app", rebuild?
function concernsApp(text) {
  const { type, payload } = JSON.parse(text);
  const items = payload ?? [];
  return type === 'ddl' ? items.some(({ schema }) => schema === null || schema === 'app')
    : items.includes('app');
}

// Its own event triggers beside ours, on another channel.
async function compare(session) {
  const fixtures = readFileSync(path.join(__dirname, 'build/v4/graphile-build-pg/res/watch-fixtures.sql'), 'utf8');
  await session.query(fixtures.replace(/'postgraphile_watch'/g, `'original'`));
  const listener = await new Listener().start('postgraphile_watch', 'original', 'cache_invalidation');
  // "more": we tell what they do not, or not with every minor version of the server;
  // "less": we do not tell what concerns nobody
  const commands = [
    'CREATE TABLE app.t (id int PRIMARY KEY, a int)', 'ALTER TABLE app.t ADD b int',
    'CREATE INDEX ON app.t (a)', 'CREATE VIEW app.v AS SELECT * FROM app.t',
    'CREATE OR REPLACE VIEW app.v AS SELECT *, 1 AS c FROM app.t', 'ALTER VIEW app.v RENAME c TO d',
    'CREATE MATERIALIZED VIEW app.m AS SELECT 1 AS id', 'CREATE TYPE app.e AS ENUM (\'a\')',
    `ALTER TYPE app.e ADD VALUE 'b'`, 'CREATE DOMAIN app.d AS int', 'ALTER DOMAIN app.d SET NOT NULL',
    `CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, 'ALTER FUNCTION app.f() STABLE',
    `CREATE PROCEDURE app.p() LANGUAGE sql AS 'SELECT 1'`, 'CREATE POLICY p ON app.t USING (true)',
    'ALTER POLICY p ON app.t USING (false)', 'CREATE RULE r AS ON DELETE TO app.t DO INSTEAD NOTHING',
    `COMMENT ON TABLE app.t IS 'x'`, `COMMENT ON SCHEMA app IS 'x'`, 'GRANT SELECT ON app.t TO PUBLIC',
    'REVOKE SELECT ON app.t FROM PUBLIC', 'CREATE SEQUENCE app.s', 'SELECT 1 AS id INTO app.into_table',
    'CREATE TABLE app.ctas AS SELECT 1 AS id', 'CREATE TABLE other.t (id int)', 'DROP TABLE other.t',
    'CREATE SCHEMA third', 'DROP SCHEMA third', 'ANALYZE app.t', 'VACUUM app.t', 'REINDEX TABLE app.t',
    'TRUNCATE app.t', 'INSERT INTO app.t VALUES (1)', 'ALTER TABLE app.t ALTER b SET DEFAULT 1',
    'REFRESH MATERIALIZED VIEW app.m', ['more', 'DROP POLICY p ON app.t'], ['more', 'DROP RULE r ON app.t'],
    'DROP SEQUENCE app.s', 'ALTER TABLE app.t DROP a CASCADE', 'DROP VIEW IF EXISTS app.v',
    'DROP FUNCTION app.f()', 'DROP PROCEDURE app.p()', 'DROP DOMAIN app.d', 'DROP TYPE app.e',
    'DROP MATERIALIZED VIEW app.m', 'DROP TABLE app.t, app.into_table, app.ctas',
    ['less', 'CREATE TEMP TABLE t (id int PRIMARY KEY)'], ['less', 'GRANT SELECT ON t TO PUBLIC'], ['less', 'DROP TABLE t'],
    'CREATE EXTENSION pg_trgm SCHEMA app', 'DROP EXTENSION pg_trgm',
  ];
  for (const item of commands) {
    const [difference, command] = Array.isArray(item) ? item : ['same', item];
    await session.query(command);
    const [theirs, ours] = await listener.take(session, 'original', 'postgraphile_watch');
    const concern = { theirs: theirs.some(concernsApp), ours: ours.some(concernsApp) };

    if (difference === 'more') ok(concern.ours, `we tell: ${command}`, ours);
    else if (difference === 'less') equal(ours, [], `we do not tell: ${command}`);
    else equal(concern.ours, concern.theirs, `as PostGraphile's own: ${command}`);
    // Where they name only what is there and matters, the payloads are the same.
    if (/^(CREATE TABLE app|ALTER|CREATE VIEW|CREATE FUNCTION|COMMENT|GRANT|REVOKE)/.test(command) && ours.length === 1
      && theirs.length === 1) {
      equal(ours, theirs, `byte for byte: ${command}`);
    }
  }
  await listener.client.end();
  await session.query('DROP SCHEMA postgraphile_watch CASCADE');
}

async function main() {
  const session = new Client();
  await session.connect();
  await session.query(`CREATE SCHEMA app; CREATE SCHEMA other;
    CREATE TABLE app.thing (number int PRIMARY KEY); INSERT INTO app.thing VALUES (1)`);

  // As doc/migrating.md has it, from PostGraphile's own event triggers.
  await session.query(readFileSync(path.join(__dirname, 'build/v4/graphile-build-pg/res/watch-fixtures.sql'), 'utf8'));
  execFileSync('psql', ['-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null'], {
    input: execFileSync(path.join(ROOT, 'test/interop/doc-sql'), ['doc/migrating.md', 'PostGraphile']), stdio: ['pipe', 2, 2],
  });
  equal((await session.query('SELECT evtname FROM pg_event_trigger ORDER BY 1')).rows.map((r) => r.evtname)
    .filter((n) => !/^cache_notify_(command|drop)/.test(n)),
  ['cache_notify_schema_ddl_command_end', 'cache_notify_schema_sql_drop'], 'the migration leaves our event triggers');

  const v4 = await new Server(process.execPath, path.join(ROOT, 'examples/postgraphile/server.js'),
    path.join(__dirname, 'build/v4')).start();
  await follow(session, v4, 4);
  await onlyWhenNeeded(session, v4);
  v4.stop();
  const v5 = await new Server(NODE_22, path.join(__dirname, 'server5.js'), path.join(__dirname, 'build/v5')).start();
  await follow(session, v5, 5);
  v5.stop();
  await compare(session);
  await session.end();
  console.log(`1..${count}`);
  process.exit(failed ? 1 : 0);
}

main().catch((error) => {
  console.log(`Bail out! ${error.stack}`);
  process.exit(1);
});
