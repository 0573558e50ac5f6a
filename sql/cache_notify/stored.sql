-- ------------------------------------------------------------------------ repair

CREATE FUNCTION cache_notify.repair() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	watched regclass;
	lacking record;
BEGIN
	-- First, while this transaction has no ID that it would wait for.
	PERFORM _cache_notify.start_whole_counters();
	PERFORM _cache_notify.refill_rules();
	PERFORM _cache_notify.hide_state();
	FOR watched IN
		SELECT DISTINCT w.tgrelid FROM _cache_notify.watching_trigger w
		WHERE NOT w.inherited AND w.tgparentid = 0
	LOOP
		PERFORM cache_notify.inherit_triggers(watched);
	END LOOP;
	PERFORM _cache_notify.set_up_lost_views();
	PERFORM _cache_notify.note_rules(NULL, NULL, '{}', '{}');
	PERFORM _cache_notify.write_lost_rules();
	FOR lacking IN
		SELECT w.relation, w.domain, w.cascades FROM _cache_notify.watched_relation w
		WHERE NOT w.inherited AND _cache_notify.missing_rule(w.domain, w.cascades) IS NOT NULL
	LOOP
		PERFORM _cache_notify.write_rules_of(lacking.relation, lacking.domain, lacking.cascades);
	END LOOP;
	IF EXISTS (SELECT FROM _cache_notify.schema_listener) THEN
		PERFORM _cache_notify.create_schema_event_triggers();
	END IF;
	PERFORM _cache_notify.configuration_changed();
END
$$;
COMMENT ON FUNCTION cache_notify.repair() IS
'Puts right what a crash, pg_upgrade or the restoring of parts of a dump can leave: fills the table cascade_rules from the configuration, writes rules that a part of a dump had not, but tables and views in it say there were, and those that the option cascades asks for, each as the owner of the table or view, sets up views whose security labels were left out, as their owners, hides state from logical decoding, gives partitions and child tables their triggers, and schema listeners their event triggers; and adds up the counters of domains with the option whole_counter, if the worker has not. Calling it again does no harm. v_invalidation_status says what else is wrong. For superusers.';
REVOKE EXECUTE ON FUNCTION cache_notify.repair() FROM PUBLIC;
