-- ------------------------------------------------------------- statistics

CREATE FUNCTION _cache_notify.statistics(
		OUT bumps bigint, OUT rows_seen bigint, OUT delivered bigint,
		OUT coalesced bigint, OUT cycles bigint, OUT overflows bigint,
		OUT worker_restarts bigint, OUT last_lag_us bigint, OUT max_lag_us bigint,
		OUT cleared_at_us bigint, OUT worker_pid int, OUT waiting bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_statistics'
	LANGUAGE C VOLATILE PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION _cache_notify.statistics() IS
'The numbers behind the view stats: one row, or none if the library is not preloaded or this database has delivered nothing yet.';
