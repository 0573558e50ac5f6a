-- ------------------------------------------------- one refresher per entry

-- refresh.c changes the rows in place, and knows the columns by their order.
CREATE UNLOGGED TABLE _cache_notify.refresh_claim (
	hash1 bigint NOT NULL,
	hash2 bigint NOT NULL,
	expires timestamptz NOT NULL,
	pid integer NOT NULL,
	role oid NOT NULL
) USING heap WITH (autovacuum_enabled = off);
COMMENT ON TABLE _cache_notify.refresh_claim IS
'Slots for claims that claim_refresh() makes. Used like shared memory, by the extension only.';
COMMENT ON COLUMN _cache_notify.refresh_claim.hash1 IS 'of the role, the name and the token';
COMMENT ON COLUMN _cache_notify.refresh_claim.hash2 IS 'another one';
COMMENT ON COLUMN _cache_notify.refresh_claim.expires IS 'when the claim ends; in the past: the slot is free';
COMMENT ON COLUMN _cache_notify.refresh_claim.pid IS 'process ID of the session that made it';
COMMENT ON COLUMN _cache_notify.refresh_claim.role IS 'whose it is: no role can take all slots';
