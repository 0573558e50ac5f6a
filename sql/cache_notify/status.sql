-- ------------------------------------------------------- what is watched, and how

CREATE VIEW cache_notify.v_invalidation_status AS
	SELECT table_name, domain, tenant_column, tenant_setting, granularity, columns, channel, payload,
		enabled, problem, fields, fire_on_replica, payload_suffix, keys, buckets, lane, whole_counter, cascades
	FROM _cache_notify.invalidation_status();
COMMENT ON VIEW cache_notify.v_invalidation_status IS
'Every watched table and materialized view with its configuration, read from pg_trigger and pg_seclabel: what you see is what happens. granularity is row, statement, refresh (a materialized view) or cascade (a view, see setup_view_invalidation()). enabled is false while changes are missed; problem says why, or what is not seen, or what makes invalidation coarser than asked for; doctor() says what to do. lane is the one in effect, see lane_in_effect(). Other rows have nothing but a domain that has no tokens, and why: another table has taken over the name of a watched one, or (table_name NULL) a cascade rule comes from a domain that nothing feeds. A row without a table and a domain says why changes are not delivered as cache_notify.delivery says.';
