-- ---------------------------------------------------------------- tables

-- State is in materialized views, for their kind of storage: it has WAL, MVCC and
-- vacuum, pg_upgrade carries it, no publication takes it, and nobody writes it by
-- SQL.  The extension's C code does.
CREATE FUNCTION _cache_notify.only_when_created() RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_only_when_created'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.only_when_created() IS
'The query of our state: false while the extension is created, and an error in REFRESH MATERIALIZED VIEW.';

-- The columns of fixed width come first: counter.c changes them in place.
-- Room on the pages keeps updates HOT, and dead versions are cleaned up as
-- soon as a page is half full.  Collation "C" compares bytes, so an upgrade of
-- the system's collations cannot corrupt the index.  The names have types of
-- limited length, so that no TOAST table comes about: who changes a row of a
-- table that has one must have a snapshot, and a commit that adds to a counter
-- has none.
CREATE MATERIALIZED VIEW _cache_notify.version_counter
USING heap WITH (
	fillfactor = 50,
	autovacuum_vacuum_scale_factor = 0.02,
	autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_cost_delay = 0,
	vacuum_truncate = off
) AS SELECT
	NULL::bigint AS n,
	NULL::timestamptz AS last_modified,
	NULL::bigint AS row_id,
	NULL::bigint AS bucket_layout,
	NULL::bigint AS keyed,
	NULL::integer AS moves,
	NULL::varchar(63) COLLATE "C" AS domain,
	NULL::varchar(255) COLLATE "C" AS tenant_id
WHERE _cache_notify.only_when_created();

-- Short names stay aligned and as they are.
ALTER MATERIALIZED VIEW _cache_notify.version_counter
	ALTER COLUMN domain SET STORAGE PLAIN,
	ALTER COLUMN tenant_id SET STORAGE PLAIN;

CREATE INDEX version_counter_key ON _cache_notify.version_counter
	USING btree (domain, tenant_id, row_id, moves DESC);
COMMENT ON MATERIALIZED VIEW _cache_notify.version_counter IS
'The counters that versions are made of. The version of a (domain, tenant_id) is the sum of its rows, plus that of the rows without a tenant (the shared counter); there are as many rows as there were transactions that moved it at the same time. Written by the extension only.';
COMMENT ON COLUMN _cache_notify.version_counter.n IS 'statements counted in this row';
COMMENT ON COLUMN _cache_notify.version_counter.last_modified IS 'when the last transaction that added to this row was about to commit';
COMMENT ON COLUMN _cache_notify.version_counter.row_id IS 'tells the rows of a key apart; random, whatever is inserted';
COMMENT ON COLUMN _cache_notify.version_counter.moves IS 'how often the row has moved to another page; the index has the last place first, so that a reader need not look at the others while a snapshot is held open';
COMMENT ON COLUMN _cache_notify.version_counter.bucket_layout IS 'the bucket layout of keys that keyed is counted in; 0: none';
COMMENT ON COLUMN _cache_notify.version_counter.keyed IS 'the part of n that moves the versions of single keys only, whose buckets have rows of their own';
COMMENT ON COLUMN _cache_notify.version_counter.domain IS 'the domain, at most 63 bytes, or an internal name that begins with cache_notify/';
COMMENT ON COLUMN _cache_notify.version_counter.tenant_id IS 'the tenant by its text form, at most 255 bytes; NULL for the shared counter';
COMMENT ON INDEX _cache_notify.version_counter_key IS 'finds the rows of a key, and of a row the newest version first; not unique on purpose';

CREATE MATERIALIZED VIEW _cache_notify.owed_delivery
USING heap AS SELECT
	NULL::text COLLATE "C" AS domain,
	NULL::text COLLATE "C" AS tenant_id,
	NULL::text AS channel,
	NULL::text AS payload,
	NULL::text AS former,
	NULL::text AS former_relation,
	NULL::text AS former_name
WHERE _cache_notify.only_when_created();
COMMENT ON MATERIALIZED VIEW _cache_notify.owed_delivery IS
'Deliveries that a transaction could not make itself: of prepared transactions, until COMMIT PREPARED; to a channel that a domain no longer goes to, once; messages of schema changes for the worker; and a reset (nothing but NULL) for those that found the notification queue full. Whoever delivers next takes the rows over.';
COMMENT ON COLUMN _cache_notify.owed_delivery.domain IS 'the domain that has changed; NULL: the row is a message or a reset';
COMMENT ON COLUMN _cache_notify.owed_delivery.tenant_id IS 'the tenant; NULL: a shared change';
COMMENT ON COLUMN _cache_notify.owed_delivery.channel IS 'where a message goes';
COMMENT ON COLUMN _cache_notify.owed_delivery.payload IS 'what a message says';
COMMENT ON COLUMN _cache_notify.owed_delivery.former_relation IS 'the OID of the relation that had this configuration';
COMMENT ON COLUMN _cache_notify.owed_delivery.former_name IS 'what that relation is called, or was';
COMMENT ON COLUMN _cache_notify.owed_delivery.former IS 'the configuration that the domain went to this channel by; NULL: to wherever the domain goes';

-- watched_name.c knows the columns by their order.
CREATE MATERIALIZED VIEW _cache_notify.watched_name
USING heap AS SELECT
	NULL::text COLLATE "C" AS domain,
	NULL::name AS schema_name,
	NULL::name AS relation_name,
	NULL::text[] AS arguments
WHERE _cache_notify.only_when_created();
COMMENT ON MATERIALIZED VIEW _cache_notify.watched_name IS
'By which names relations were set up to feed a domain. While a relation that does not feed it has such a name (after a swap, created anew, restored without its triggers), the domain has no tokens.';
COMMENT ON COLUMN _cache_notify.watched_name.domain IS 'the domain that was fed';
COMMENT ON COLUMN _cache_notify.watched_name.schema_name IS 'the schema of the relation when it was set up';
COMMENT ON COLUMN _cache_notify.watched_name.relation_name IS 'its name then';
COMMENT ON COLUMN _cache_notify.watched_name.arguments IS 'how whatever takes the name over is to be watched; NULL: not at all';

-- epoch.c knows the columns by their order, all of fixed width.
CREATE MATERIALIZED VIEW _cache_notify.history
USING heap AS SELECT
	NULL::bigint AS origin,
	NULL::bigint AS incarnation,
	NULL::bigint AS system_identifier,
	NULL::timestamptz AS since,
	NULL::bigint AS timeline,
	NULL::oid AS database_oid,
	NULL::oid AS counter_oid,
	NULL::boolean AS asynchronous
WHERE _cache_notify.only_when_created();
COMMENT ON MATERIALIZED VIEW _cache_notify.history IS
'Where versions start. The row with the greatest origin counts, as long as the database is where the row says; otherwise it has forked (failover, recovery, a dump, a template), and the first session that notices adds a row with a greater origin, at once and whether or not its transaction commits. Written by the extension only.';
COMMENT ON COLUMN _cache_notify.history.origin IS 'what versions start at; 0 until the database has forked';
COMMENT ON COLUMN _cache_notify.history.incarnation IS 'a random number that no other history has';
COMMENT ON COLUMN _cache_notify.history.system_identifier IS 'the cluster, as in pg_control_system()';
COMMENT ON COLUMN _cache_notify.history.since IS 'when the row was written';
COMMENT ON COLUMN _cache_notify.history.timeline IS 'the timeline of the cluster''s WAL';
COMMENT ON COLUMN _cache_notify.history.database_oid IS 'the database, as in pg_database';
COMMENT ON COLUMN _cache_notify.history.counter_oid IS 'the table version_counter, as in pg_class';
COMMENT ON COLUMN _cache_notify.history.asynchronous IS 'changes were committed with synchronous_commit = off, so a crash may lose some';

CREATE UNLOGGED TABLE _cache_notify.running (
	running boolean NOT NULL
) USING heap;
COMMENT ON TABLE _cache_notify.running IS
'Not empty while the server has not crashed since changes were first committed with synchronous_commit = off: crash recovery empties unlogged tables.';
COMMENT ON COLUMN _cache_notify.running.running IS 'always true';

CREATE FUNCTION _cache_notify.hide_state() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_hide_state'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.hide_state() IS
'Keeps our state out of what logical decoding shows to any output plugin. pg_upgrade loses that; the worker, and repair(), do it once more.';
REVOKE EXECUTE ON FUNCTION _cache_notify.only_when_created(), _cache_notify.hide_state() FROM PUBLIC;

SELECT _cache_notify.hide_state();
