-- ---------------------------------------------------------------- tables

-- Unlogged, so no publication takes it. The rules themselves are in the configuration:
-- stored.sql.
CREATE UNLOGGED TABLE cache_notify.cascade_rules (
	source_domain text COLLATE "C" NOT NULL,
	target_domain text COLLATE "C" NOT NULL,
	rule_type text NOT NULL DEFAULT 'invalidate',
	keys text NOT NULL DEFAULT 'all',
	tenants text NOT NULL DEFAULT 'same',
	PRIMARY KEY (source_domain, target_domain),
	CONSTRAINT cascade_rules_not_to_itself CHECK (source_domain <> target_domain),
	CONSTRAINT cascade_rules_domain_length CHECK (
		octet_length(source_domain) BETWEEN 1 AND 63
		AND octet_length(target_domain) BETWEEN 1 AND 63),
	CONSTRAINT cascade_rules_domain_name CHECK (
		source_domain || ' ' || target_domain !~* '%2F|%25'),
	-- A slash separates a domain from a key; internal domains have one.
	CONSTRAINT cascade_rules_no_slash CHECK (
		target_domain !~ '/' AND (source_domain !~ '/' OR source_domain ~ '^cache_notify/definition/[0-9]+$')),
	CONSTRAINT cascade_rules_rule_type CHECK (rule_type IN ('invalidate', 'notify')),
	CONSTRAINT cascade_rules_keys CHECK (keys IN ('all', 'same')),
	CONSTRAINT cascade_rules_tenants CHECK (tenants IN ('all', 'same'))
);
COMMENT ON TABLE cache_notify.cascade_rules IS
'Which domains a change of a domain is carried on to. Rules are followed from target to target; cycles are allowed and end. A rule applies to statements that begin after it was committed.';
COMMENT ON COLUMN cache_notify.cascade_rules.source_domain IS 'the domain that changes';
COMMENT ON COLUMN cache_notify.cascade_rules.target_domain IS 'the domain that depends on it';
COMMENT ON COLUMN cache_notify.cascade_rules.rule_type IS
'''invalidate'': bump the target, deliver it and go on from it; ''notify'': deliver the target with its present version, go no further';
COMMENT ON COLUMN cache_notify.cascade_rules.tenants IS
'whose part of the target a tenant''s change reaches: ''same'', the tenant''s; or ''all'': it is a shared change there, with all keys, as for a target that sums over tenants';
COMMENT ON COLUMN cache_notify.cascade_rules.keys IS
'which keys of the target a change of single keys reaches: ''all'', or ''same'': the same keys only (contract/123 reaches contract_summary/123). ''same'' takes effect where both domains have keys, and the target no more buckets than the source';
