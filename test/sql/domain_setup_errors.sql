-- Serves setup_table_invalidation(): what cannot work is refused at set-up, with
-- a message that says what is wrong and a hint that says what to do.
-- A failure shows as a call that is taken (it prints its domain), or another
-- message or hint; at the end as a trigger that a refused call left behind.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, "two words" int, gone int);
ALTER TABLE item DROP COLUMN gone;

-- Not a table whose rows can be watched.
CREATE VIEW item_view AS SELECT * FROM item;
CREATE TEMP TABLE item_temp (id int);
CREATE SEQUENCE item_sequence;
CREATE TYPE item_type AS (id int);
SELECT cache_notify.setup_table_invalidation('item_view');
SELECT cache_notify.setup_table_invalidation('item_temp');
SELECT cache_notify.setup_table_invalidation('item_sequence');
SELECT cache_notify.setup_table_invalidation('item_type');
SELECT cache_notify.setup_table_invalidation('item_pkey');
SELECT cache_notify.setup_table_invalidation('pg_class');
SELECT cache_notify.setup_table_invalidation('information_schema.sql_features');
SELECT cache_notify.setup_table_invalidation('_cache_notify.version_counter');
SELECT cache_notify.setup_table_invalidation('cache_notify.cascade_rules');
SELECT cache_notify.setup_table_invalidation('cache_notify.domain_version');
SELECT cache_notify.setup_table_invalidation('missing');
SELECT cache_notify.setup_table_invalidation(NULL);
SELECT cache_notify.setup_table_invalidation(4000000000);

-- The domain: 1 to 63 bytes, not characters.
SELECT cache_notify.setup_table_invalidation('item', '');
SELECT cache_notify.setup_table_invalidation('item', repeat('d', 64));
SELECT cache_notify.setup_table_invalidation('item', repeat('ü', 32));
SELECT cache_notify.setup_table_invalidation('item', 'cache_notify/definition/1');
SELECT octet_length(cache_notify.setup_table_invalidation('item', repeat('d', 63)));
SELECT octet_length(cache_notify.setup_table_invalidation('item', repeat('ü', 31) || 'd'));
SELECT count(*) FROM _cache_notify.watching_trigger WHERE tgrelid = 'item'::regclass;
SELECT cache_notify.remove_table_invalidation('item', all_domains => true);

-- The tenant column.
SELECT cache_notify.setup_table_invalidation('item', 'item', 'tenant');
SELECT cache_notify.setup_table_invalidation('item', 'item', 'gone');
SELECT cache_notify.setup_table_invalidation('item', 'item', 'xmin');
-- A column tenant_id, and no tenants.
SELECT cache_notify.setup_table_invalidation('item', 'item', '');
SELECT tenant_column FROM cache_notify.v_invalidation_status WHERE domain = 'item';
SELECT cache_notify.remove_table_invalidation('item');
SELECT cache_notify.setup_table_invalidation('item', 'item', 'Two Words');

-- The columns that count.
SELECT cache_notify.setup_table_invalidation('item', columns => '{id,nmae}');
SELECT cache_notify.setup_table_invalidation('item', columns => '{}');
SELECT cache_notify.setup_table_invalidation('item', columns => '{id,NULL}');
SELECT cache_notify.setup_table_invalidation('item', columns => '{ctid}');

-- The channel.
SELECT cache_notify.setup_table_invalidation('item', channel => '');
SELECT cache_notify.setup_table_invalidation('item', channel => 'cache:{tenant_id}');
SELECT cache_notify.setup_table_invalidation('item', channel => '{domian}');
SELECT cache_notify.setup_table_invalidation('item', channel => 'cache:{tenant');
SELECT cache_notify.setup_table_invalidation('item', channel => repeat('c', 64));
SELECT cache_notify.setup_table_invalidation('item', channel => repeat('ü', 32));

-- The payload format, the granularity.
\set VERBOSITY terse
SELECT cache_notify.setup_table_invalidation('item', payload => 'jsno');
SELECT cache_notify.setup_table_invalidation('item', payload => '');
\set VERBOSITY default
DO $$
DECLARE
	hint text;
BEGIN
	PERFORM cache_notify.setup_table_invalidation('item', payload => 'jsno');
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	ASSERT hint = format('Payload formats are: %s.', array_to_string(cache_notify.payload_formats(), ', ')), hint;
	ASSERT hint LIKE '% json%', hint;
END
$$;
SELECT cache_notify.setup_table_invalidation('item', granularity => 'rows');
SELECT cache_notify.setup_table_invalidation('item', granularity => NULL);
SELECT cache_notify.setup_table_invalidation('item', granularity => '');

-- The setting.
SELECT cache_notify.setup_table_invalidation('item', tenant_setting => 'work_mem');
SELECT cache_notify.setup_table_invalidation('item', tenant_setting => '');
SELECT cache_notify.setup_table_invalidation('item', tenant_setting => 'app.tenant id');

-- Contradictions.
SELECT cache_notify.setup_table_invalidation('item', NULL, 'tenant_id', tenant_setting => 'app.tenant');
SELECT cache_notify.setup_table_invalidation('item', NULL, 'tenant_id', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('item', granularity => 'statement', columns => '{id}');

-- A refused call changes nothing, also if the table is watched already.
:triggers
SELECT cache_notify.setup_table_invalidation('item', channel => 'c');
SELECT cache_notify.setup_table_invalidation('item', channel => 'd', columns => '{nmae}');
:triggers

-- The triggers' functions are for triggers that set-up creates.
SELECT cache_notify.row_change();
SELECT cache_notify.statement_change();

DROP TABLE item CASCADE;
DROP SEQUENCE item_sequence;
DROP TYPE item_type;
