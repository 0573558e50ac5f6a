// PostGraphile 5 that serves the schema "app" and follows its changes, as told by
// cache_notify.
const { createServer } = require('node:http');
const { Pool } = require('pg');
const { postgraphile } = require('postgraphile');
const { makePgService } = require('postgraphile/adaptors/pg');
const { grafserv } = require('postgraphile/grafserv/node');
const { PostGraphileAmberPreset } = require('postgraphile/presets/amber');

const server = createServer();
const serv = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ pool: new Pool(), schemas: ['app'], pubsub: true })],
  gather: { installWatchFixtures: false },
  grafserv: { watch: true },
}).createServ(grafserv);

serv.addTo(server).then(() => server.listen(process.env.PORT ?? 5000, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/graphql`);
}));
