-- ------------------------------------------------- one refresher per entry

CREATE FUNCTION cache_notify.claim_refresh(name text, token text, at_most interval DEFAULT '10 seconds')
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_claim_refresh'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.claim_refresh(text, text, interval) IS
'Whether the caller is the one to compute a cached result anew: true for one caller for each name (of the result, chosen by the callers) and token, and false for the others until that one calls finish_refresh(), its session ends, or at_most (up to 5 minutes) has passed. Callers of another role have claims of their own. Never waits, and is no part of the transaction: others see it at once, and a rollback does not undo it. Some thousand claims can be held at the same time; with more, true may be returned twice. Only on the primary. NULL if an argument is. Error if at_most is not positive or too long.';

CREATE FUNCTION cache_notify.finish_refresh(name text, token text)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_finish_refresh'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.finish_refresh(text, text) IS
'Ends a claim of claim_refresh(), because the result is there or the caller gives up; from any session of the role, as a pooler may choose another. False if there is none. NULL if an argument is.';
