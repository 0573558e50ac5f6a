-- -------------------------------------------- watching a table, and ceasing to

-- Used by the event triggers, too: inheritance.c.
CREATE FUNCTION cache_notify.inherit_triggers(relation regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	PERFORM _cache_notify.equip_members(ARRAY[relation::oid]);
	PERFORM _cache_notify.equip_members(_cache_notify.equip_simple_members(relation));
END
$$;
COMMENT ON FUNCTION cache_notify.inherit_triggers(regclass) IS
'Gives a table and all its partitions or child tables the triggers that their parents'' being watched asks for, and drops those it no longer does. Event triggers and setup_table_invalidation() call it; calling it again does no harm. Locks: SHARE ROW EXCLUSIVE on tables that get a trigger, ACCESS EXCLUSIVE on those that lose one.';

-- -------------------------------------------- watching a table, and ceasing to

CREATE FUNCTION cache_notify.setup_table_invalidation(
	table_name regclass,
	domain_name text DEFAULT NULL,
	tenant_column text DEFAULT NULL,
	channel text DEFAULT NULL,
	payload text DEFAULT NULL,
	granularity text DEFAULT 'row',
	tenant_setting text DEFAULT NULL,
	columns text[] DEFAULT NULL,
	fields text[] DEFAULT NULL,
	fire_on_replica boolean DEFAULT false,
	payload_suffix text DEFAULT NULL,
	keys text[] DEFAULT NULL,
	buckets int DEFAULT NULL,
	whole_counter boolean DEFAULT false,
	follow_name boolean DEFAULT false,
	cascades text[] DEFAULT NULL)
	RETURNS text
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	arguments text[];
	kinds text[] := CASE granularity WHEN 'row' THEN '{row,statement}' ELSE '{statement}' END;
	kind text;
	doomed record; noted text[];
	relkind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = table_name);
BEGIN
	PERFORM _cache_notify.check_watchable(table_name);
	domain_name := coalesce(domain_name, _cache_notify.default_domain(table_name));
	PERFORM _cache_notify.check_not_watched_through(table_name, domain_name);
	IF relkind = 'm' AND whole_counter THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('materialized view %s needs no counter of the whole domain', table_name),
			HINT = 'REFRESH changes it for all tenants.';
	ELSIF relkind = 'm' AND (keys IS NOT NULL OR buckets IS NOT NULL) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('materialized view %s cannot have keys', table_name),
			HINT = 'REFRESH changes it as a whole.';
	END IF;
	IF tenant_column = '' THEN
		tenant_column := NULL;	-- has the column tenant_id, perhaps, and no tenants
	ELSIF tenant_column IS NOT NULL THEN
		PERFORM _cache_notify.check_columns(table_name, tenant_column);
	ELSIF tenant_setting IS NULL AND granularity = 'row' AND relkind <> 'm' THEN
		-- A materialized view may well have such a column, but changes as a whole.
		tenant_column := (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = table_name
			AND a.attname = 'tenant_id' AND a.attnum > 0 AND NOT a.attisdropped);
	END IF;
	PERFORM _cache_notify.check_columns(table_name, VARIADIC columns);
	arguments := _cache_notify.option('domain_name', domain_name)
		|| _cache_notify.option('tenant_column', tenant_column)
		|| _cache_notify.option('tenant_setting', tenant_setting)
		|| _cache_notify.option('granularity', granularity)
		|| _cache_notify.option('channel', channel)
		|| _cache_notify.option('payload', payload)
		|| _cache_notify.option('payload_suffix', payload_suffix)
		|| _cache_notify.option('columns', VARIADIC columns)
		|| _cache_notify.option('fields', VARIADIC fields)
		|| _cache_notify.option('cascades', VARIADIC cascades);
	PERFORM _cache_notify.check_options(table_name, _cache_notify.watch_options(arguments, table_name));
	noted := ARRAY(SELECT unnest(w.rules) FROM _cache_notify.noting_watch w WHERE w.relation = table_name AND w.domain = domain_name);
	IF relkind = 'm' THEN
		PERFORM _cache_notify.watch_materialized_view(table_name, domain_name, arguments);
		PERFORM _cache_notify.note_name(table_name, domain_name, CASE WHEN follow_name THEN arguments END);
		PERFORM _cache_notify.note_view(table_name, domain_name, arguments::text);
		PERFORM _cache_notify.check_route(table_name, domain_name);
		PERFORM _cache_notify.note_rules_of(table_name, domain_name, noted);
		PERFORM _cache_notify.write_missing_rules(domain_name, cascades);
		RETURN domain_name;
	END IF;
	arguments := arguments || _cache_notify.key_arguments(
		table_name, domain_name, granularity, keys, buckets, fields);
	IF whole_counter THEN
		arguments := arguments || _cache_notify.option('whole_counter',
			_cache_notify.whole_counter_number(domain_name)::text);
	END IF;

	PERFORM _cache_notify.notice_vague_names(table_name, arguments);
	PERFORM _cache_notify.notice_defaults(table_name, domain_name, arguments, fire_on_replica);

	-- A row trigger that is not to be there, and what partitions have of their own.
	PERFORM _cache_notify.lock_family(table_name, EXISTS (
		SELECT FROM _cache_notify.doomed_triggers(table_name, domain_name, granularity)));
	FOR doomed IN
		SELECT d.relation, d.tgname FROM _cache_notify.doomed_triggers(table_name, domain_name, granularity) d
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', doomed.tgname, doomed.relation);
	END LOOP;
	FOREACH kind IN ARRAY kinds LOOP
		PERFORM _cache_notify.create_watching_trigger(table_name, kind, domain_name, arguments);
		IF fire_on_replica THEN
			EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I',
				table_name, _cache_notify.trigger_name(kind, domain_name));
		END IF;
	END LOOP;
	-- A statement fires the statement triggers of the table that it names only.
	PERFORM cache_notify.inherit_triggers(table_name);
	PERFORM _cache_notify.note_name(table_name, domain_name, CASE WHEN follow_name THEN
		arguments || CASE WHEN fire_on_replica THEN '{fire_on_replica=true}'::text[] ELSE '{}' END END);
	PERFORM _cache_notify.configuration_changed();
	PERFORM _cache_notify.check_route(table_name, domain_name);
	PERFORM _cache_notify.note_rules_of(table_name, domain_name, noted);
	PERFORM _cache_notify.write_missing_rules(domain_name, cascades);
	RETURN domain_name;
END
$$;
COMMENT ON FUNCTION cache_notify.setup_table_invalidation IS
'Watches a table: from now on each statement that changes it moves the version of its (tenant, domain) forward. Returns the domain.
table_name: a table (with the tables that inherit from it), partitioned table (with its partitions), foreign table, or materialized view (each REFRESH is a change).
domain_name: the domain that it feeds, 1 to 63 bytes without a slash, which separates a domain from a key; NULL: the table''s name without a leading tv_, tb_ or v_.
tenant_column: the column that holds the tenant; NULL: tenant_id if the table has it, else changes concern all tenants. If its type is one whose equal values may have different texts (jsonb, interval, a nondeterministic collation), changes concern all tenants, and a NOTICE says so; '''': no tenants, although there is such a column.
channel: where to notify; NULL: the payload format''s own channel, or else cache_notify.channel. A role that is no superuser can have a domain told on 32 channels or formats. May be a template such as cache:{domain}:{tenant}; shared changes have the tenant *, and a name over 63 bytes has its tenant, or else the whole, replaced by its MD5.
payload: the payload format; NULL: json. See payload_formats(). The other formats tell of the table and not of the domain: oid its OID; pgcachewatch the operation, its name and the time; tcn the operation and the primary key of each row. What is not told that way (a cascade, invalidate(), a reset, more than 1,000 events in one transaction) they tell as TRUNCATE.
granularity: ''row'', or ''statement'' to fire once per statement without looking at rows, which also counts statements that changed none.
tenant_setting: a setting that holds the tenant, such as app.tenant_id, instead of a column.
columns: an UPDATE counts only if one of these columns changed; NULL: any column.
fields: what the payload tells beside the version: lsn (a WAL position that a standby must have replayed to show the change; null in the commit lane), xid (the last transaction), operations (insert, update, delete, truncate), keys (those of the changed rows as in names, or without the option keys their primary keys; null for all, or too many).
payload_suffix: what is written at the end of each payload, such as E''\n'' for listeners that read lines; at most 63 bytes, in ASCII.
keys: the columns that make a row''s key; NULL: none. If one has such a type, changes reach every key. Then contract/123 names a part of the domain that has a version and tokens of its own, see key_name(). A row whose key is NULL in a column, a statement that touches more than an eighth of the buckets, and whatever else changes the domain reach every key.
buckets: the keys fall into so many, a power of two from 16 to 1048576; keys of one bucket move together. NULL: as many as the domain has, or 1024. There are as many counters at most, for each tenant. Changing it moves the domain''s shared version.
whole_counter: count every change of the domain, whichever tenant''s, once more in a counter of its own, so that the version of the whole domain is read as fast with a million tenants as with one. Transactions that change the domain, through whatever table or rule, write one counter more. It begins to help when transactions that run now have ended; with more than 1,000 tenants once the worker, or repair(), has added them up.
follow_name: watch in the same way whatever takes over the name of the table (a swap by rename, the table dropped and created anew), in the same transaction. A column that it does not have makes invalidation coarser. Without it the domain has no tokens from then on, until somebody sets up the other table.
cascades: the domains that its changes are carried on into. Rules that are not there are written, as set_cascade_rule() does, with the same rights; those that are there stay as they are. The triggers, or the label, say which rules there are to be, so that every dump of the table does: while one is missing, v_invalidation_status says so, and its target has no tokens; repair(), or this call, writes it. Leaving one out later deletes no rule.
fire_on_replica: count what logical replication applies, too, and other sessions with session_replication_role = replica.
Calling it again for the same table and domain replaces what was there, and moves the domain''s shared version if that differs, also on a channel that it leaves; another domain is added. A domain that has versions already moves its shared one when a table begins to feed it. Partitions and child tables that come later are watched by themselves. Needs the right to create triggers on the table, and its ownership for granularity ''statement'' in place of ''row'', for fire_on_replica and for a materialized view. Locks until the end of the transaction: SHARE ROW EXCLUSIVE (writers wait, readers do not) on the table and then its partitions or child tables, before anything else; ACCESS EXCLUSIVE if triggers have to go, for granularity ''statement'' in place of ''row'' or where a partition is watched for the domain by itself; SHARE UPDATE EXCLUSIVE on a materialized view. Error if the table cannot be watched, a column does not exist, options contradict each other, or another table feeds the domain with another number of buckets.';

CREATE FUNCTION cache_notify.remove_table_invalidation(
	table_name regclass, domain_name text DEFAULT NULL,
	if_exists boolean DEFAULT false, all_domains boolean DEFAULT false)
	RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	domains text[];
	doomed record;
	found_any boolean := false;
BEGIN
	IF table_name IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'table_name must not be null';
	ELSIF all_domains AND domain_name IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'domain_name and all_domains exclude each other';
	END IF;
	domains := CASE WHEN all_domains THEN ARRAY(
			SELECT w.domain FROM _cache_notify.watching_trigger w WHERE w.tgrelid = table_name AND NOT w.inherited AND w.tgparentid = 0
			UNION SELECT l.domain FROM _cache_notify.watching_label l WHERE l.relation = table_name AND l.relkind = 'm')
		ELSE ARRAY[coalesce(domain_name, _cache_notify.default_domain(table_name))] END;
	PERFORM _cache_notify.check_not_watched_through(table_name, d) FROM unnest(domains) AS u (d);
	PERFORM _cache_notify.lock_family(table_name, true) WHERE EXISTS (
		SELECT FROM pg_trigger t WHERE t.tgrelid = table_name
		AND t.tgfoid IN ('cache_notify.row_change()'::regprocedure, 'cache_notify.statement_change()'::regprocedure));
	FOR doomed IN
		SELECT w.tgname FROM _cache_notify.watching_trigger w
		WHERE w.tgrelid = table_name
		-- What a parent is watched with stays.
		AND w.tgparentid = 0 AND NOT w.inherited AND w.domain = ANY (domains)
		-- A row trigger that goes first leaves a gap.
		ORDER BY w.function DESC
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', doomed.tgname, table_name);
		found_any := true;
	END LOOP;
	IF EXISTS (SELECT FROM _cache_notify.watching_label l
			   WHERE l.relation = table_name AND l.relkind = 'm' AND l.domain = ANY (domains)) THEN
		PERFORM _cache_notify.label_relation(table_name, NULL);
		found_any := true;
	END IF;
	FOREACH domain_name IN ARRAY domains LOOP
		IF _cache_notify.forget_name(table_name, domain_name)
			OR EXISTS (SELECT FROM _cache_notify.name_problem p WHERE p.relation = table_name AND p.domain = domain_name) THEN
			found_any := true;
		END IF;
		PERFORM _cache_notify.note_view(table_name, domain_name, NULL);
	END LOOP;
	IF NOT found_any AND NOT if_exists THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = CASE WHEN all_domains THEN format('table %s is not watched', table_name)
				ELSE format('table %s is not watched for domain "%s"', table_name, domains[1]) END,
			HINT = coalesce((
				SELECT CASE WHEN bool_and(w.inherited OR w.tgparentid <> 0)
					THEN 'It is watched because a table that it is a part of is: remove that one.'
					ELSE 'It is watched for ' || string_agg(DISTINCT quote_literal(w.domain), ', ') FILTER (WHERE NOT w.inherited AND w.tgparentid = 0)
						|| ': name the domain, or say all_domains => true.' END
				FROM (SELECT t.domain, t.inherited, t.tgparentid FROM _cache_notify.watching_trigger t WHERE t.tgrelid = table_name
					  UNION ALL
					  SELECT l.domain, false, 0 FROM _cache_notify.watching_label l
					  WHERE l.relation = table_name AND l.relkind = 'm') AS w
				HAVING count(*) > 0),
				'See cache_notify.v_invalidation_status.');
	END IF;
	PERFORM cache_notify.inherit_triggers(table_name);
	PERFORM _cache_notify.configuration_changed();
END
$$;
COMMENT ON FUNCTION cache_notify.remove_table_invalidation(regclass, text, boolean, boolean) IS
'Ceases to watch a table or materialized view for a domain. Moves its shared version, because later changes will not be seen; unless something else feeds the domain, it has no tokens any more. Needs ownership of the table. Locks until the end of the transaction: ACCESS EXCLUSIVE on the table and then its partitions or child tables, before anything else; SHARE UPDATE EXCLUSIVE on a materialized view. Error if the table is not watched for the domain.
domain_name: NULL: the one that setup_table_invalidation() takes by default, the table''s name without a leading tv_, tb_ or v_.
if_exists: no error if the table is not watched for the domain.
all_domains: every domain that the table was set up for.
A relation that took over the name of a watched table, and need not be watched, is named here as well.';
