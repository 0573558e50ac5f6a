-- Complain if the script is read by psql rather than by CREATE EXTENSION.
\echo Use "CREATE EXTENSION cache_notify" to load this file. \quit


-- Whoever owns the schema can put a function beside ours that fits a call better, and
-- superusers' DDL calls ours. CREATE EXTENSION takes a schema that is there already.
DO $$
DECLARE
	owner name;
BEGIN
	SELECT r.rolname INTO owner
	FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'cache_notify' AND NOT r.rolsuper;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = pg_catalog.format('schema cache_notify belongs to %s, who is not a superuser', owner),
			HINT = 'Drop the schema, or give it to a superuser once nobody else has put anything into it.';
	END IF;
END
$$;

-- A schema of that name that is there already could hold anything: refused as well, here.
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) '_cache_notify') THEN
		RAISE EXCEPTION USING ERRCODE = 'duplicate_schema',
			MESSAGE = 'schema _cache_notify is there already',
			HINT = 'The extension creates it, and drops it again. Drop the schema, or rename it.';
	END IF;
END
$$;
CREATE SCHEMA _cache_notify;
COMMENT ON SCHEMA _cache_notify IS
'What only the extension cache_notify calls itself, and its state. May be another in any release: call what is in cache_notify.';
