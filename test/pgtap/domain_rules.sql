-- Serves G4: the table of rules and the configuration that it stands for, after what
-- bypasses its triggers: a crash, which empties it, and the restoring of parts of a dump.
-- A failure shows as rules in the table that are none, or as a change of rules that finds
-- none and says nothing.
BEGIN;
SELECT plan(12);

SELECT is(cache_notify.version_origin(), 0::bigint, 'versions begin at 0');
INSERT INTO cache_notify.cascade_rules VALUES
	('item', 'page', 'invalidate', 'all'), ('item', 'site', 'notify', 'all'), ('page', 'shop', 'invalidate', 'same');
CREATE FUNCTION rules(relation text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT concat_ws(%L, source_domain, target_domain, rule_type, keys, tenants) FROM %s ORDER BY 1', ' ', relation);
END $$;
CREATE FUNCTION unheard(sql text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	ALTER TABLE cache_notify.cascade_rules DISABLE TRIGGER USER;
	EXECUTE sql;
	ALTER TABLE cache_notify.cascade_rules ENABLE ALWAYS TRIGGER rules_are_written, ENABLE ALWAYS TRIGGER rule_is_written,
		ENABLE ALWAYS TRIGGER rules_are_truncated;
END $$;
SELECT is(cache_notify.version_origin(), 0::bigint, 'and rules change nothing about that');
SELECT set_eq($$SELECT rules('_cache_notify.stored_rule')$$, $$SELECT rules('cache_notify.cascade_rules')$$, 'the table is what the configuration says');
CREATE TABLE wanted AS SELECT * FROM rules('cache_notify.cascade_rules') AS r (rule);

-- Emptied: who changes rules must see those that there are.
SELECT unheard('DELETE FROM cache_notify.cascade_rules');
SELECT throws_like($$UPDATE cache_notify.cascade_rules SET rule_type = 'notify' WHERE source_domain = 'item'$$, '%is empty since a crash%', 'UPDATE');
SELECT throws_like($$DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'item'$$, '%is empty since a crash%', 'DELETE');
SELECT set_eq($$SELECT rules('_cache_notify.stored_rule')$$, 'SELECT rule FROM wanted', 'have changed nothing');
SELECT lives_ok($$INSERT INTO cache_notify.cascade_rules VALUES ('shop', 'town')$$, 'INSERT');
SELECT set_eq($$SELECT rules('cache_notify.cascade_rules')$$, $$SELECT rules('_cache_notify.stored_rule')$$, 'fills it first');
DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'shop';

-- One row too many, others than they are, one too few.
SELECT unheard($$
	INSERT INTO cache_notify.cascade_rules VALUES ('none', 'such');
	UPDATE cache_notify.cascade_rules SET rule_type = 'notify', tenants = 'all' WHERE target_domain = 'page';
	UPDATE cache_notify.cascade_rules SET keys = 'all' WHERE target_domain = 'shop';
	DELETE FROM cache_notify.cascade_rules WHERE target_domain = 'site'$$);
SELECT set_ne($$SELECT rules('cache_notify.cascade_rules')$$, 'SELECT rule FROM wanted', 'the table says otherwise');
SELECT set_eq($$SELECT rules('_cache_notify.stored_rule')$$, 'SELECT rule FROM wanted', 'than what works');
SELECT cache_notify.repair();
SELECT set_eq($$SELECT rules('cache_notify.cascade_rules')$$, 'SELECT rule FROM wanted', 'repair() makes it right');
SELECT set_eq($$SELECT rules('_cache_notify.stored_rule')$$, 'SELECT rule FROM wanted', 'and changes nothing else');

SELECT * FROM finish();
ROLLBACK;
