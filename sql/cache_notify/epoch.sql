-- ------------------------------------------------- which history this is

CREATE FUNCTION cache_notify.version_origin() RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_version_origin'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.version_origin() IS
'What versions start at: 0, and more once the database may have forked, that is, once commits may have been lost or may go on elsewhere (failover, point-in-time recovery, a dump restored, CREATE DATABASE ... TEMPLATE, pg_upgrade, a crash after commits with synchronous_commit = off). Only goes forward. Versions stay below 2^53.';

CREATE FUNCTION cache_notify.new_history() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_new_history'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.new_history() IS
'Declares that the database has forked: when this transaction commits, every version moves far forward and every token and position is stale. The server notices by itself whatever gives it a new timeline, cluster, database or counter table. It cannot notice that its files were copied and are now running twice or were put back (a snapshot of a virtual machine or of a file system, pg_resetwal): call this then, in each copy, before anything else.';
REVOKE EXECUTE ON FUNCTION cache_notify.new_history() FROM PUBLIC;

CREATE FUNCTION cache_notify.new_history(above bigint) RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_new_history'
	LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;
COMMENT ON FUNCTION cache_notify.new_history(bigint) IS
'The same for a database that takes the place of another one, on another server: versions go on above those as well. above is what version_origin() says there.';
REVOKE EXECUTE ON FUNCTION cache_notify.new_history(bigint) FROM PUBLIC;

-- Noted at once, so that nobody whose snapshot is older notes another one.
SELECT cache_notify.version_origin();
