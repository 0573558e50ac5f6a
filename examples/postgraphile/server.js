// PostGraphile 4 that serves the schema "app" and follows its changes. Told by
// cache_notify, once and for all:
//
//   CREATE EXTENSION cache_notify;
//   SELECT cache_notify.setup_schema_invalidation('postgraphile');
//
// so it need not create event triggers of its own, nor be allowed to.
const { createServer } = require('node:http');
const { Pool } = require('pg');
const { postgraphile } = require('postgraphile');

const handler = postgraphile(new Pool(), 'app', { // PGHOST and the like say where
  watchPg: true,
  graphileBuildOptions: { pgSkipInstallingWatchFixtures: true },
});
const server = createServer(handler).listen(process.env.PORT ?? 5000, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/graphql`);
});
