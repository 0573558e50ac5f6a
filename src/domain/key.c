/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Keys of a domain: their names, and the buckets that they fall into.
 *
 * A watched table may name key columns.  Then each of its rows has a key, and
 * 'contract/123' names the rows of domain contract whose key reads 123.  A
 * key's version is the sum of two counters:
 *
 *	  the bucket		that the key's hash falls into.  It has a row of its
 *						own in version_counter, under an internal name
 *	  the whole			all bumps of the domain but those that are "keyed":
 *						whose transaction has bumped, in the same commit, the
 *						buckets of all rows that they changed
 *
 * So whoever bumps a domain and knows nothing of keys reaches every key: the
 * whole needs no counter, and nobody can forget to bump it.  How many bumps
 * were keyed is in the domain's own counter rows.
 *
 * Layout.  The number of buckets, and so which bucket a key falls into, can
 * change.  Each time, the domain gets another bucket layout: a number that has the
 * binary logarithm of the number of buckets in its last five bits, and above
 * them one that only grows.  Triggers carry it as an argument.  Buckets and the
 * count of keyed bumps belong to one bucket layout, and bumps that are keyed in
 * another one reach every key.  So whatever bucket layout a reader or a writer
 * believes in, because it has not heard of a change yet or has an old snapshot,
 * it is never wrong, only coarser.  Versions go forward nevertheless: within a
 * bucket layout no bucket has counted more than were keyed, so that the last version
 * of the old bucket layout is at most the domain's sum, which the first of the new one
 * begins with.
 *
 * The domain's is that of its oldest trigger (watch_load.c).  Nobody owns a
 * domain, and a trigger made by hand may have any number, so nothing is counted
 * by keys in another layout: what is counted nowhere cannot be lost when that
 * trigger goes.
 *
 * A name for which there is no bucket layout has the version of its domain, and
 * so has one of which naming.c cannot tell which key it is.
 *
 * In names, a domain and each column's text have %2F for a slash and %25 for a
 * per cent sign; any other per cent sign stands for itself.  Slashes stand
 * between columns.  What the columns' texts are, and which other texts callers may
 * write for them, is in canonical.c and naming.c.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/canonical.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "domain/domain_inside.h"

/* Names that one call takes: what it needs of memory and time is bounded. */
#define MAX_NAMES	10000

PG_FUNCTION_INFO_V1(cache_notify_key_name);

/* The bucket layout of a domain's keys; 0: it has none.  May read the catalogs. */
int64
domain_bucket_layout(Domain *domain)
{
	(void) watch_load();
	return domain->bucket_layout;
}

/* Has the name's domain a counter for what is asked for? */
static bool
has_whole_counter(const VersionName *name, const char *tenant)
{
	return tenant == ALL_TENANTS && name->bucket_layout == 0 &&
		name->found != NULL && name->found->whole_no != 0;
}

typedef struct CounterReader
{
	CounterTable *table;
	Snapshot	snapshot;
} CounterReader;

static int64
read_counter(const char *name, void *arg)
{
	CounterReader *reader = arg;
	CounterKey	key = counter_key(name, NULL);

	return counter_sum(reader->table, &key, reader->snapshot);
}

static int64
read_cached_counter(const char *name, void *arg)
{
	return sum_cache_read(arg, name, NULL);
}

/* The sum of a name's counters, for a tenant or (NULL) shared. */
int64
name_sum(CounterTable *table, const VersionName *name, const char *tenant,
		 Snapshot snapshot)
{
	CounterKey	key = counter_key(name->domain, tenant);
	CounterKey	bucket;
	CounterReader reader = {table, snapshot};
	int64		sum;

	if (has_whole_counter(name, tenant) &&
		whole_counter_read(name->domain, name->found->whole_no, read_counter,
						   &reader, &sum))
		return sum;
	if (name->bucket_layout == 0)
		return counter_sum(table, &key, snapshot);
	bucket = counter_key(name->bucket, tenant);
	return counter_sum_whole(table, &key, name->bucket_layout, snapshot) +
		counter_sum(table, &bucket, snapshot);
}

/* The same, each read once. */
int64
name_sum_cached(SumCache *cache, const VersionName *name, const char *tenant)
{
	int64		sum;

	if (has_whole_counter(name, tenant) &&
		whole_counter_read(name->domain, name->found->whole_no,
						   read_cached_counter, cache, &sum))
		return sum;
	if (name->bucket_layout == 0)
		return sum_cache_read(cache, name->domain, tenant);
	return sum_cache_read_whole(cache, name->domain, tenant,
								name->bucket_layout) +
		sum_cache_read(cache, name->bucket, tenant);
}

/*
 * The hash of a key: of the canonical texts of its columns, with KEY_SEPARATOR
 * between them.
 */
uint32
hash_key_bytes(const char *bytes, int len)
{
	return hash_bytes((const unsigned char *) bytes, len);
}

/* --------------------------------------------------------------- names */

/* Add a column's text as it is written in names. */
void
append_escaped_bytes(StringInfo buf, const char *bytes, int len)
{
	for (const char *end = bytes + len; bytes < end; bytes++)
	{
		if (*bytes == '/')
			appendStringInfoString(buf, "%2F");
		else if (*bytes == '%')
			appendStringInfoString(buf, "%25");
		else
			appendStringInfoChar(buf, *bytes);
	}
}

static void
append_escaped(StringInfo buf, const text *string)
{
	append_escaped_bytes(buf, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

/* Undo that, in place; a slash becomes the separator.  Returns the length. */
static int
unescape(char *string)
{
	char	   *to = string;

	if (strpbrk(string, "/%") == NULL)
		return strlen(string);
	for (const char *from = string; *from != '\0'; from++)
	{
		if (*from == '/')
			*to++ = KEY_SEPARATOR;
		else if (pg_strncasecmp(from, "%2F", 3) == 0)
		{
			*to++ = '/';
			from += 2;
		}
		else if (strncmp(from, "%25", 3) == 0)
		{
			*to++ = '%';
			from += 2;
		}
		else
			*to++ = *from;
	}
	*to = '\0';
	return to - string;
}

/* A key as it is written in names, from the bytes that are hashed; palloc'd. */
static char *
escape_key(const char *bytes, int len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < len; i++)
	{
		if (bytes[i] == KEY_SEPARATOR)
			appendStringInfoChar(&buf, '/');
		else
			append_escaped_bytes(&buf, &bytes[i], 1);
	}
	return buf.data;
}

/* Find out which key of its domain a name stands for: bytes, as unescaped. */
static void
read_key(VersionName *name, const Domain *domain, const char *bytes, int len)
{
	StringInfoData key;

	initStringInfo(&key);
	if (!naming_key(domain, bytes, len, &key))
		return;
	name->key = escape_key(key.data, key.len);
	name->hash = hash_key_bytes(key.data, key.len);
	name->bucket_layout = domain->bucket_layout;
	name->bucket = bucket_name(name->domain, name->bucket_layout,
							   bucket_of_hash(name->bucket_layout, name->hash));
}

/*
 * What a name stands for to a tenant (or NULL), palloc'd.  Error if it cannot
 * be a name.  No domain has a slash, so what is behind the first one is a key,
 * whatever is watched.
 */
VersionName *
parse_name(const char *written, const char *tenant)
{
	VersionName *name = palloc0(sizeof(VersionName));
	char	   *name_of_domain = pstrdup(written);
	char	   *slash = NULL;
	Domain	   *domain;

	if (!is_internal_domain(written))
	{
		slash = strchr(name_of_domain, '/');
		if (slash != NULL)
			*slash = '\0';
		unescape(name_of_domain);
	}
	check_domain_name(name_of_domain);
	name->domain = name_of_domain;

	naming_load();
	domain = name->found = domain_find(name_of_domain);
	name->naming_code = naming_code(domain);
	name->tenant = tenant ? naming_tenant(domain, tenant) : NULL;
	if (slash == NULL)
		return name;
	if (domain != NULL && domain->bucket_layout != 0)
	{
		char	   *key = pstrdup(written + (slash - name_of_domain) + 1);
		int			len = unescape(key);

		read_key(name, domain, key, len);
	}
	return name;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	const VersionName *x = lfirst(a);
	const VersionName *y = lfirst(b);
	int			result = strcmp(x->domain, y->domain);

	return result != 0 ? result :
		strcmp(x->key ? x->key : "", y->key ? y->key : "");
}

/*
 * The names that a caller gives, sorted by what they stand for, each of that
 * once.  Which arguments the tenant and the names are.
 */
List *
name_arguments(FunctionCallInfo fcinfo, int tenant, int n)
{
	char	   *tenant_id = PG_ARGISNULL(tenant) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(tenant));
	List	   *names = NIL;
	List	   *unique = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(n))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false,
						  TYPALIGN_INT, &elements, &nulls, &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no domain is named"),
				 errhint("Name every domain that the cached result was computed from.")));
	if (count > MAX_NAMES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d names are too many", count),
				 errhint("A call takes at most %d: name domains instead of keys, or call it several times.",
						 MAX_NAMES)));
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("domain must not be null")));
		names = lappend(names, parse_name(TextDatumGetCString(elements[i]),
										  tenant_id));
	}
	list_sort(names, compare_names);
	foreach(lc, names)
	{
		if (unique == NIL || compare_names(list_tail(unique), lc) != 0)
			unique = lappend(unique, lfirst(lc));
	}
	return unique;
}

/* The name as functions tell it, and callers may write it; palloc'd. */
char *
name_as_told(const VersionName *name)
{
	StringInfoData buf;

	if (name->key == NULL)
		return pstrdup(name->domain);
	initStringInfo(&buf);
	append_escaped_bytes(&buf, name->domain, strlen(name->domain));
	appendStringInfoChar(&buf, '/');
	appendStringInfoString(&buf, name->key);
	return buf.data;
}

/* key_name(domain text, VARIADIC key text[]) returns text */
Datum
cache_notify_key_name(PG_FUNCTION_ARGS)
{
	StringInfoData buf;
	Datum	   *elements;
	bool	   *nulls;
	int			count = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	initStringInfo(&buf);
	append_escaped(&buf, PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
						  TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			PG_RETURN_NULL();
		appendStringInfoChar(&buf, '/');
		append_escaped(&buf, DatumGetTextPP(elements[i]));
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}
