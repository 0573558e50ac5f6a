/*-------------------------------------------------------------------------
 *
 * token.c
 *	  What caches ask: tokens and ETags, and whether they are current.
 *
 * A token says which history the counters were in and what the sums of a
 * tenant's domains were, its own and the shared ones, in one snapshot.  It is
 * current while the history is the same and every sum is: sums only grow
 * within a history, so an equal sum means that nothing has changed.  Both are
 * read in the snapshot of the query, on a standby in the standby's.
 *
 * A token of a key says which bucket it was read from, in which bucket layout (key.c).
 * So it can be compared whatever has become of the domain's keys since.
 *
 * Without a tenant a token is of the sum of all tenants' counters and the shared
 * one, that is, of the whole domain.
 *
 * A transaction that has changed one of the domains sees what nobody else
 * sees yet, and its counters have not moved: it gets no token, and no token
 * is current for it.  The same goes for the statement that is changing it.
 *
 * The same state gives the same token: domains are sorted and folded.
 *
 * No lock is kept here, and nothing is written except by epoch.c, once, when
 * a new history is found.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/question.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "ask/encoding.h"

/* stale() remembers no more sums than this, two for each name. */
#define MAX_CACHED_SUMS	100000

PG_FUNCTION_INFO_V1(cache_notify_token);
PG_FUNCTION_INFO_V1(cache_notify_is_current);
PG_FUNCTION_INFO_V1(cache_notify_stale);
PG_FUNCTION_INFO_V1(cache_notify_etag);
PG_FUNCTION_INFO_V1(cache_notify_matches);

/* Bytes of hash in an ETag. */
#define ETAG_LEN	(2 * sizeof(uint64))

/* By the counters that they are read from. */
static int
compare_counters(const ListCell *a, const ListCell *b)
{
	const VersionName *x = lfirst(a);
	const VersionName *y = lfirst(b);
	int			result = strcmp(x->domain, y->domain);

	if (result == 0)
		result = x->bucket_layout < y->bucket_layout ? -1 : x->bucket_layout > y->bucket_layout;
	if (result == 0 && x->bucket_layout != 0)
		result = strcmp(x->bucket, y->bucket);
	return result;
}

/* Names that differ in what they are read from. */
static List *
distinct_counters(List *names)
{
	List	   *distinct = NIL;
	ListCell   *lc;

	list_sort(names, compare_counters);
	foreach(lc, names)
	{
		if (distinct == NIL ||
			compare_counters(list_tail(distinct), lc) != 0)
			distinct = lappend(distinct, lfirst(lc));
	}
	return distinct;
}

/* Do all domains call the tenant the same?  They do, but for strange names. */
static bool
have_one_tenant(List *names)
{
	const VersionName *first = linitial(names);
	ListCell   *lc;

	foreach(lc, names)
	{
		const VersionName *name = lfirst(lc);

		if (first->tenant == NULL || name->tenant == NULL ?
			first->tenant != name->tenant :
			strcmp(first->tenant, name->tenant) != 0)
			return false;
	}
	return true;
}

static void
encode_tenant(StringInfo buf, const char *tenant)
{
	encode_integer(buf, tenant != NULL);
	if (tenant != NULL)
		encode_string(buf, tenant);
}

/* How the names of one more domain are read. */
static uint32
add_code(uint32 code, uint32 naming_code)
{
	return ((code << 1) | (code >> 31)) + naming_code;
}

/* Write a token without its checksum; false if there can be none now. */
static bool
write_token(StringInfo buf, Question *question, List *names)
{
	bool		one_tenant = have_one_tenant(names);
	uint32		code = 0;
	ListCell   *lc;

	names = distinct_counters(names);
	foreach(lc, names)
	{
		if (name_is_pending(lfirst(lc)) ||
			!name_is_known(question, lfirst(lc)))
			return false;
	}

	encode_begin(buf, KIND_TOKEN);
	encode_fixed64(buf, question->history.fingerprint);
	encode_integer(buf, list_length(names) * 2 + one_tenant);
	if (one_tenant)
		encode_tenant(buf, ((VersionName *) linitial(names))->tenant);
	foreach(lc, names)
	{
		VersionName *name = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (!one_tenant)
			encode_tenant(buf, name->tenant);
		encode_string(buf, name->domain);
		encode_integer(buf, name->bucket_layout);
		if (name->bucket_layout != 0)
			encode_integer(buf, bucket_of_hash(name->bucket_layout, name->hash));
		encode_integer(buf, name_sum(question->table, name,
									 name->tenant ? NULL : ALL_TENANTS,
									 question->snapshot));
		if (name->tenant != NULL)
			encode_integer(buf, name_sum(question->table, name, name->tenant,
										 question->snapshot));
		code = add_code(code, name->naming_code);
	}
	encode_integer(buf, code);
	return true;
}

/* token(tenant_id text, VARIADIC domains text[]) returns text */
Datum
cache_notify_token(PG_FUNCTION_ARGS)
{
	Question	question;
	StringInfoData buf;
	bool		done;

	if (!begin_question(&question))
		PG_RETURN_NULL();
	done = write_token(&buf, &question, name_arguments(fcinfo, 0, 1));
	end_question(&question);
	if (!done)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(encode_end(&buf));
}

/* Complain about a string that token() never made. */
static void
reject_token(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid token"),
			 errhint("Pass what cache_notify.token() returned, unchanged.")));
}

static const char *
decode_tenant(Decoder *decoder)
{
	return decode_integer(decoder) != 0 ? decode_string(decoder) : NULL;
}

/* Read which counters a token speaks of. */
static void
decode_name(Decoder *decoder, VersionName *name, bool own_tenant,
			const char *tenant)
{
	memset(name, 0, sizeof(VersionName));
	name->tenant = own_tenant ? decode_tenant(decoder) : tenant;
	name->domain = decode_string(decoder);
	name->bucket_layout = decode_integer(decoder);
	if (name->bucket_layout != 0)
		name->hash = decode_integer(decoder);
	if (decoder->failed || strlen(name->domain) >= NAMEDATALEN ||
		name->bucket_layout < 0)
		reject_token();
	name->found = domain_find(name->domain);
	if (name->bucket_layout != 0)
		name->bucket = bucket_name(name->domain, name->bucket_layout,
								   bucket_of_hash(name->bucket_layout, name->hash));
}

/*
 * Is the token current?  What is read of the counters is kept in the cache.
 * A token of another history, or of another release, is not.
 */
static bool
token_is_current(const text *token, Question *question, SumCache *cache)
{
	Decoder		decoder;
	uint8		kind;
	uint64		ndomains;
	bool		one_tenant;
	const char *tenant = NULL;
	uint32		code = 0;
	bool		current = true;

	if (!decode_begin(&decoder, token, &kind) || kind == KIND_POSITION)
		reject_token();
	if (kind != KIND_TOKEN ||
		decode_fixed64(&decoder) != question->history.fingerprint)
		return false;

	naming_load();
	ndomains = decode_integer(&decoder);
	one_tenant = ndomains & 1;
	if (one_tenant)
		tenant = decode_tenant(&decoder);
	for (ndomains >>= 1; ndomains > 0 && !decoder.failed && current; ndomains--)
	{
		VersionName name;

		CHECK_FOR_INTERRUPTS();
		question->names_read++;
		decode_name(&decoder, &name, !one_tenant, tenant);
		code = add_code(code, naming_code(name.found));
		current = !name_is_pending(&name) &&
			name_is_known(question, &name) &&
			decode_integer(&decoder) == name_sum_cached(cache, &name,
														name.tenant ? NULL : ALL_TENANTS) &&
			(name.tenant == NULL ||
			 decode_integer(&decoder) == name_sum_cached(cache, &name, name.tenant));
	}
	current = current && decode_integer(&decoder) == code;
	if (current && !decode_end(&decoder))
		reject_token();
	return current;
}

/* is_current(token text) returns boolean, strict */
Datum
cache_notify_is_current(PG_FUNCTION_ARGS)
{
	Question	question;
	bool		current;

	if (!begin_question(&question))
		PG_RETURN_NULL();
	current = token_is_current(PG_GETARG_TEXT_PP(0), &question,
							   sum_cache_create(question.table,
												question.snapshot));
	end_question(&question);
	PG_RETURN_BOOL(current);
}

/* stale(tokens text[]) returns text[], strict: those that are not current */
Datum
cache_notify_stale(PG_FUNCTION_ARGS)
{
	Question	question;
	SumCache   *cache;
	ArrayBuildState *result;
	Datum	   *tokens;
	bool	   *nulls;
	int			count;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work,
				cached;

	if (!begin_question(&question))
		PG_RETURN_NULL();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &tokens, &nulls, &count);
	cached = AllocSetContextCreate(outer, "cache_notify sums",
								   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cached);
	cache = sum_cache_create(question.table, question.snapshot);
	result = initArrayResult(TEXTOID, outer, false);
	work = AllocSetContextCreate(outer, "cache_notify tokens",
								 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			continue;
		if (question.names_read > MAX_CACHED_SUMS)
		{
			/* However much is asked, it takes no more memory than this. */
			question.names_read = 0;
			MemoryContextReset(cached);
			MemoryContextSwitchTo(cached);
			cache = sum_cache_create(question.table, question.snapshot);
			MemoryContextSwitchTo(work);
		}
		if (!token_is_current(DatumGetTextPP(tokens[i]), &question, cache))
			accumArrayResult(result, tokens[i], false, TEXTOID, outer);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(work);
	MemoryContextDelete(cached);
	end_question(&question);
	PG_RETURN_DATUM(makeArrayResult(result, outer));
}

/* The entity tag of a state, in its quotes; NULL if there can be none now. */
static text *
make_etag(FunctionCallInfo fcinfo, int tenant, int names)
{
	Question	question;
	StringInfoData buf;
	uint64		hash[2];
	text	   *encoded;
	bool		done;

	if (!begin_question(&question))
		return NULL;
	done = write_token(&buf, &question, name_arguments(fcinfo, tenant, names));
	end_question(&question);
	if (!done)
		return NULL;

	hash[0] = hash_bytes_extended((unsigned char *) buf.data, buf.len, 0);
	hash[1] = hash_bytes_extended((unsigned char *) buf.data, buf.len, hash[0]);
	encoded = encode_base64url((char *) hash, ETAG_LEN);
	return cstring_to_text(psprintf("\"%.*s\"",
									(int) VARSIZE_ANY_EXHDR(encoded),
									VARDATA_ANY(encoded)));
}

/* etag(tenant_id text, VARIADIC domains text[]) returns text */
Datum
cache_notify_etag(PG_FUNCTION_ARGS)
{
	text	   *etag = make_etag(fcinfo, 0, 1);

	if (etag == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(etag);
}

/*
 * Does the value of an If-None-Match header name the entity tag?  The header
 * comes from outside: what cannot be understood does not match.  Comparison
 * is weak, as HTTP asks for here: W/ is passed over.
 */
static bool
header_names(const char *header, const char *etag)
{
	size_t		len = strlen(etag);
	const char *p = header + strspn(header, " \t");

	if (*p == '*')
		return p[1 + strspn(p + 1, " \t")] == '\0';
	while (*p != '\0')
	{
		const char *end;

		p += strspn(p, " \t,");
		if (p[0] == 'W' && p[1] == '/')
			p += 2;
		if (*p != '"' || (end = strchr(p + 1, '"')) == NULL)
			return false;
		end++;
		if (end - p == len && memcmp(p, etag, len) == 0)
			return true;
		p = end;
	}
	return false;
}

/*
 * matches(if_none_match text, tenant_id text, VARIADIC domains text[])
 * returns boolean: true to answer 304 Not Modified
 */
Datum
cache_notify_matches(PG_FUNCTION_ARGS)
{
	text	   *etag = make_etag(fcinfo, 1, 2); /* for its errors, too */

	PG_RETURN_BOOL(etag != NULL && !PG_ARGISNULL(0) &&
				   header_names(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								text_to_cstring(etag)));
}
