-- -------------------------- those who keep a copy of the schema: PostgREST & co.

CREATE VIEW _cache_notify.schema_event_trigger AS
	SELECT e.event, t.evtname,
		coalesce(t.evtname, 'cache_notify_schema_' || e.event) AS name,
		t.evtenabled
	FROM (VALUES ('ddl_command_end'), ('sql_drop')) AS e (event)
	LEFT JOIN pg_catalog.pg_event_trigger t ON t.evtevent = e.event
		AND t.evtfoid = 'cache_notify.schema_change()'::pg_catalog.regprocedure;
COMMENT ON VIEW _cache_notify.schema_event_trigger IS
'The event triggers that setup_schema_invalidation() needs. evtname is NULL for one that is not there, name is what it is to be called.';

CREATE FUNCTION _cache_notify.check_schema_listener(
	preset text, channel text, payload text, payload_suffix text) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	IF preset IS NULL AND (channel IS NULL OR payload IS NULL) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'neither a preset nor both channel and payload are given',
			HINT = format('Presets are: %s.', (SELECT string_agg(p.preset, ', ') FROM cache_notify.schema_presets() p));
	ELSIF preset NOT IN (SELECT p.preset FROM cache_notify.schema_presets() p) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unknown preset "%s"', preset),
			HINT = format('Presets are: %s. Without one, name channel and payload.',
				(SELECT string_agg(p.preset, ', ') FROM cache_notify.schema_presets() p));
	ELSIF payload IS NOT NULL AND EXISTS (
			SELECT FROM cache_notify.schema_presets() p
			WHERE p.preset = check_schema_listener.preset AND p.payload IS NULL) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('preset "%s" has payloads of its own', preset),
			HINT = 'Leave out payload, or the preset.';
	END IF;
	IF channel = '' OR octet_length(channel) > 63 THEN
		RAISE EXCEPTION USING
			ERRCODE = CASE channel WHEN '' THEN 'invalid_parameter_value' ELSE 'name_too_long' END,
			MESSAGE = CASE channel WHEN '' THEN 'channel must not be empty'
				ELSE format('channel "%s" is too long', channel) END,
			HINT = 'A channel has 1 to 63 bytes.';
	ELSIF octet_length(payload_suffix) > 63 THEN
		RAISE EXCEPTION USING ERRCODE = 'string_data_right_truncation',
			MESSAGE = 'payload_suffix is too long',
			HINT = 'It has at most 63 bytes.';
	ELSIF octet_length(concat(payload, payload_suffix)) > 7999 THEN
		RAISE EXCEPTION USING ERRCODE = 'string_data_right_truncation',
			MESSAGE = 'payload is too long',
			HINT = 'With payload_suffix it has at most 7999 bytes.';
	ELSIF concat(payload, payload_suffix) ~ '[^[:ascii:]]' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'payload is not ASCII',
			HINT = 'It would end the connections of listeners whose client_encoding lacks a letter of it; JSON can say every letter as \uXXXX.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_schema_listener(text, text, text, text) IS
'Checks the options of setup_schema_invalidation(): error, with a hint, if they cannot be.';

CREATE FUNCTION _cache_notify.create_schema_event_triggers() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	trig record;
BEGIN
	FOR trig IN SELECT * FROM _cache_notify.schema_event_trigger LOOP
		IF trig.evtname IS NULL THEN
			EXECUTE format('CREATE EVENT TRIGGER %I ON %s EXECUTE FUNCTION cache_notify.schema_change()',
				trig.name, trig.event);
		END IF;
		IF trig.evtenabled IS DISTINCT FROM 'A' THEN
			EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', trig.name);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION _cache_notify.create_schema_event_triggers() IS
'Creates the event triggers that setup_schema_invalidation() needs, those that are not there, and enables them, also for sessions with session_replication_role = replica.';
