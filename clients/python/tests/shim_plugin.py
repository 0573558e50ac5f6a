import cache_notify._aio as o
import cache_notify._ask as a
import cache_notify._cache as c
import cache_notify._steps as s

ASK="""
    SELECT cache_notify.token({0}::text, VARIADIC {1}::text::text[]),
           pg_catalog.current_setting('transaction_isolation') = 'read committed',
           pg_catalog.pg_is_in_recovery(),
           pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL,
           {0}::text, split_part(n, '/', 1), nullif(substr(n, length(split_part(n, '/', 1)) + 2), ''), v.version, v.shared_version, n <> 'plain'
    FROM unnest({1}::text::text[]) n, cache_notify.versions({0}::text, split_part(n, '/', 1)) v"""
for m in (a,s,c,o): m.ASK=ASK
