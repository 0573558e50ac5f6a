-- ------------------------------------------------------------- statistics

CREATE VIEW cache_notify.stats AS
	SELECT bumps, rows_seen, delivered, coalesced, cycles, overflows,
		worker_restarts, worker_pid, waiting,
		pg_catalog.pg_notification_queue_usage() AS queue_usage,
		round(last_lag_us / 1000.0, 3) AS last_lag_ms,
		round(max_lag_us / 1000.0, 3) AS max_lag_ms,
		CASE WHEN cleared_at_us > 0 THEN
			timestamptz '2000-01-01 00:00:00+00' + cleared_at_us * interval '1 microsecond'
		END AS cleared_at,
		(cache_notify.lane_in_effect()).lane
	FROM _cache_notify.statistics();
COMMENT ON VIEW cache_notify.stats IS
'What has been counted and delivered in this database since the server started or the statistics were reset. No row if the library is not preloaded or nothing has been delivered yet.';
COMMENT ON COLUMN cache_notify.stats.bumps IS 'statements counted, cascades included, of committed transactions';
COMMENT ON COLUMN cache_notify.stats.rows_seen IS 'rows that row triggers looked at';
COMMENT ON COLUMN cache_notify.stats.delivered IS 'scopes (a domain and a tenant, or none) that listeners were told of, by the worker or by committing transactions; what a reset stood for is not among them';
COMMENT ON COLUMN cache_notify.stats.coalesced IS 'scopes that were waiting already when a transaction added them';
COMMENT ON COLUMN cache_notify.stats.cycles IS 'transactions of the worker that delivered scopes';
COMMENT ON COLUMN cache_notify.stats.overflows IS 'times that cache_notify.waiting_scopes was too small and listeners were told to drop everything';
COMMENT ON COLUMN cache_notify.stats.worker_restarts IS 'workers that died at their work and were replaced';
COMMENT ON COLUMN cache_notify.stats.worker_pid IS 'process ID of the worker; NULL while there is none';
COMMENT ON COLUMN cache_notify.stats.waiting IS 'scopes that wait for the worker now';
COMMENT ON COLUMN cache_notify.stats.queue_usage IS 'how full the notification queue of the server is, 0 to 1';
COMMENT ON COLUMN cache_notify.stats.last_lag_ms IS 'age of the oldest change in the worker''s last cycle when it began, in ms';
COMMENT ON COLUMN cache_notify.stats.max_lag_ms IS 'the greatest such age';
COMMENT ON COLUMN cache_notify.stats.lane IS 'the lane in effect, see lane_in_effect()';
COMMENT ON COLUMN cache_notify.stats.cleared_at IS 'when clear_statistics() was called last; NULL: not since the server started';

CREATE FUNCTION cache_notify.clear_statistics() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_clear_statistics'
	LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION cache_notify.clear_statistics() IS
'Sets the numbers of the view stats back to 0 for this database.';
