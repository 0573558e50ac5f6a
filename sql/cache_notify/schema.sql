-- -------------------------- those who keep a copy of the schema: PostgREST & co.

CREATE FUNCTION cache_notify.schema_presets(
		OUT preset text, OUT channel text, OUT payload text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_schema_presets'
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 5;
COMMENT ON FUNCTION cache_notify.schema_presets() IS
'The presets that setup_schema_invalidation() takes, with the channel and the payload that they stand for; payload is NULL where it tells what has changed.';

CREATE FUNCTION cache_notify.setup_schema_invalidation(
	preset text DEFAULT NULL,
	channel text DEFAULT NULL,
	payload text DEFAULT NULL,
	payload_suffix text DEFAULT NULL)
	RETURNS text
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM _cache_notify.check_schema_listener(preset, channel, payload, payload_suffix);
	channel := coalesce(channel, (
		SELECT p.channel FROM cache_notify.schema_presets() p WHERE p.preset = preset));
	PERFORM _cache_notify.create_schema_event_triggers();
	PERFORM _cache_notify.store('schema_listener', channel, ARRAY['channel=' || channel,
		'preset=' || preset, 'payload=' || payload, 'payload_suffix=' || nullif(payload_suffix, '')]);
	RETURN channel;
EXCEPTION WHEN insufficient_privilege THEN
	RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
		MESSAGE = 'must have the right to create event triggers to set up schema invalidation',
		DETAIL = format('The server says: %s.', SQLERRM),
		HINT = 'Only superusers may create event triggers: have one call the function.';
END
$$;
COMMENT ON FUNCTION cache_notify.setup_schema_invalidation(text, text, text, text) IS
'Tells programs that keep a copy of the schema when it changes: from now on each transaction whose DDL concerns them is notified once it has committed. Returns the channel.
preset: ''postgrest'' (reload schema) or ''postgraphile'' (which schemas, by which commands), see schema_presets(); NULL: any change that a preset counts, with the payload given.
channel: where to notify; NULL: the preset''s, pgrst or postgraphile_watch.
payload: what to say instead of the preset''s payload; not for postgraphile. Required without a preset.
payload_suffix: added to each payload, for instance E''\n'' for listeners that read lines; NULL: nothing.
Calling it again for the same channel replaces what was there. Temporary objects do not count, what the script of an extension does counts as the one command, and so does whatever one transaction does: one payload, of postgraphile at most two. The domain schema is bumped as well, once for each command that any preset counts. Needs the right to create event triggers, that is, a superuser. Error if options contradict each other.';

CREATE FUNCTION cache_notify.remove_schema_invalidation(
	preset text DEFAULT NULL, channel text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	doomed record;
BEGIN
	PERFORM _cache_notify.store('schema_listener', l.channel, NULL)
	FROM _cache_notify.schema_listener l
	WHERE (preset IS NULL OR l.preset = preset) AND (channel IS NULL OR l.channel = channel);
	IF NOT FOUND AND (preset IS NOT NULL OR channel IS NOT NULL) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('there is no schema invalidation %s', concat_ws(' ',
				'of preset "' || preset || '"', 'on channel "' || channel || '"')),
			HINT = 'See cache_notify.v_schema_invalidation.';
	END IF;
	IF NOT EXISTS (SELECT FROM _cache_notify.schema_listener) THEN
		FOR doomed IN
			SELECT t.evtname FROM _cache_notify.schema_event_trigger t WHERE t.evtname IS NOT NULL
		LOOP
			EXECUTE format('DROP EVENT TRIGGER %I', doomed.evtname);
		END LOOP;
	END IF;
EXCEPTION WHEN insufficient_privilege THEN
	RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
		MESSAGE = 'must have the right to create event triggers to remove schema invalidation',
		DETAIL = format('The server says: %s.', SQLERRM),
		HINT = 'Only superusers may create event triggers: have one call the function.';
END
$$;
COMMENT ON FUNCTION cache_notify.remove_schema_invalidation(text, text) IS
'Undoes setup_schema_invalidation() for a preset, a channel, or both; without arguments for all. The event triggers go with the last one. The version of the domain schema stays as it is. Needs the same right. Error if there is nothing to undo, unless called without arguments.';

CREATE VIEW cache_notify.v_schema_invalidation AS
	SELECT l.channel, l.preset,
		coalesce(l.payload, (SELECT p.payload FROM cache_notify.schema_presets() p WHERE p.preset = l.preset)) AS payload,
		l.payload_suffix,
		t.problem IS NULL AS enabled,
		t.problem
	FROM _cache_notify.schema_listener l
	CROSS JOIN LATERAL (
		SELECT min(format(CASE WHEN evtname IS NULL THEN 'event trigger %I is missing' ELSE 'event trigger %I is disabled' END, name)
				   || ': call cache_notify.setup_schema_invalidation() again')
			FILTER (WHERE evtname IS NULL OR evtenabled IN ('D', 'R')) AS problem
		FROM _cache_notify.schema_event_trigger) AS t
	UNION ALL
	-- The event triggers come and go with the listeners.
	SELECT NULL, NULL, NULL, NULL, false, 'event triggers for listeners are there, and no listener is, as after a part of a dump: call cache_notify.setup_schema_invalidation(), or remove_schema_invalidation()'
	WHERE EXISTS (SELECT FROM _cache_notify.schema_event_trigger t WHERE t.evtname IS NOT NULL)
	AND NOT EXISTS (SELECT FROM _cache_notify.schema_listener);
COMMENT ON VIEW cache_notify.v_schema_invalidation IS
'Which channels hear of changes to the schema. payload is NULL where it tells what has changed. enabled is false while changes are missed, and problem says why. channel NULL: listeners have been lost.';
