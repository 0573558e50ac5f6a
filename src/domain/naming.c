/*-------------------------------------------------------------------------
 *
 * naming.c
 *	  What tenants and keys of a domain are called: by the types of the
 *	  columns that they come from.
 *
 * Rows name their tenant and key by canonical texts (canonical.c).  Whoever
 * asks for a name has it read by the types of the columns that feed the domain
 * (canonical_name.c), in every table that does, and in the tables of the
 * domains whose changes rules carry on to it, as these come with their own
 * tenants and keys.  If all types that can read the name make the same text of
 * it, that is what it stands for; if none can, no row has it, and it stands for
 * itself.  If they differ (a uuid in capitals, where another table has the
 * tenant as text), or if a key has another number of columns, no text reaches
 * every row that could be meant: then the name stands for the whole domain.
 *
 * Columns whose type cannot name anything take no part, since changes of their
 * rows reach every tenant, or every key.  A tenant in a setting is a text that
 * a session wrote, and is read like a name.
 *
 * What tables are watched with changes with the rules' generation (cascade.c),
 * a column's type by a relcache invalidation of its table.  The code of a domain's naming is part of its tokens: if it is
 * another one by the time that a token is looked at, the token is stale,
 * whether or not anything else has told of the change.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/canonical.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "common/hashfn.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "domain/domain_inside.h"

/* The columns of a key, by type. */
typedef struct KeyTypes
{
	int			n;
	CanonicalType types[INDEX_MAX_KEYS];
} KeyTypes;

/* What the names in one domain are read by. */
typedef struct Naming
{
	List	   *tenants;		/* CanonicalType *, each once */
	List	   *keys;			/* KeyTypes *, each once */
	bool		vague_tenants;	/* a column's type cannot name tenants */
	bool		vague_keys;		/* the same of keys */
	uint32		code;
} Naming;

/* A watched table's columns that name something, for one domain. */
typedef struct NamingSource
{
	Oid			relid;
	Domain	   *domain;
	const char *tenant_column;	/* or NULL */
	int			nkeys;
	const char *key_columns[INDEX_MAX_KEYS];
} NamingSource;

/*
 * Of the backend, made anew when the rules are, or when a column may have got another
 * type; what a savepoint undoes comes with an invalidation as well.
 */
static MemoryContext sources_context = NULL;
static List *sources = NIL;		/* NamingSource * */
static uint64 sources_generation = 0;	/* of the rules that they are of */

static MemoryContext namings_context = NULL;
static List *named = NIL;		/* Domain *, those with a Naming */
static uint64 types_read = 0;	/* the Namings are as of this change */

static bool
is_source(Oid relid)
{
	ListCell   *lc;

	foreach(lc, sources)
	{
		if (((NamingSource *) lfirst(lc))->relid == relid)
			return true;
	}
	return false;
}

/* Whatever may have given a column another type. */
static InvalidationCount type_changes = {.concerns = is_source};

void
naming_init(void)
{
	invalidation_count_relations(&type_changes);
}

/* --------------------------------------------------------- what is watched */

static void
add_source(const Watch *watch)
{
	const WatchOptions *options = watch->options;
	const char *tenant = options->tenant_setting != NULL ? NULL :
		options->tenant_column;
	NamingSource *source;
	MemoryContext old;
	ListCell   *lc;

	if (tenant == NULL && options->keys == NIL)
		return;

	/* A child has its parent's columns, which have the same types. */
	if (watch->inherited)
		return;
	old = MemoryContextSwitchTo(sources_context);
	source = palloc0(sizeof(NamingSource));
	source->relid = watch->relation;
	source->domain = domain_lookup(watch->domain);
	source->tenant_column = tenant ? pstrdup(tenant) : NULL;
	foreach(lc, options->keys)
		source->key_columns[source->nkeys++] = pstrdup(lfirst(lc));
	sources = lappend(sources, source);
	MemoryContextSwitchTo(old);
}

/* Domains of another generation have no Naming any more. */
static void
load_sources(uint64 generation)
{
	ListCell   *lc;

	sources = named = NIL;
	types_read = 0;
	if (sources_context == NULL)
	{
		sources_context = AllocSetContextCreate(TopMemoryContext,
												"cache_notify sources of names",
												ALLOCSET_SMALL_SIZES);
		namings_context = AllocSetContextCreate(TopMemoryContext,
												"cache_notify names",
												ALLOCSET_SMALL_SIZES);
	}
	MemoryContextReset(sources_context);
	foreach(lc, watch_all())
		add_source(lfirst(lc));
	sources_generation = generation;
}

/* ------------------------------------------------------------------ types */

/* The type that names of this column's values are read by. */
static CanonicalType
type_of_column(Oid relid, const char *column, bool *vague)
{
	CanonicalType type = {0};
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	Form_pg_attribute attr;

	if (!HeapTupleIsValid(tuple))
		return type;			/* gone: its rows reach all */
	attr = (Form_pg_attribute) GETSTRUCT(tuple);
	type = canonical_type(attr->atttypid, attr->attcollation);
	ReleaseSysCache(tuple);
	if (type.kind == CANONICAL_NONE)
		*vague = true;
	return canonical_reader(type);
}

static bool
same_type(const CanonicalType *a, const CanonicalType *b)
{
	return a->kind == b->kind && a->type == b->type &&
		a->element == b->element;
}

static bool
same_key_types(const KeyTypes *a, const KeyTypes *b)
{
	if (a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
		if (!same_type(&a->types[i], &b->types[i]))
			return false;
	return true;
}

static Naming *
make_naming(Domain *domain)
{
	if (inside(domain)->naming == NULL)
	{
		named = lappend(named, domain);
		inside(domain)->naming = palloc0(sizeof(Naming));
	}
	return inside(domain)->naming;
}

/* The functions that add to a Naming run in its context.  True if it is new. */
static bool
add_tenant_type(Naming *naming, const CanonicalType *type)
{
	CanonicalType *copy;
	ListCell   *lc;

	foreach(lc, naming->tenants)
	{
		if (same_type(lfirst(lc), type))
			return false;
	}
	copy = palloc(sizeof(CanonicalType));
	*copy = *type;
	naming->tenants = lappend(naming->tenants, copy);
	return true;
}

static bool
add_key_types(Naming *naming, const KeyTypes *types)
{
	KeyTypes   *copy;
	ListCell   *lc;

	foreach(lc, naming->keys)
	{
		if (same_key_types(lfirst(lc), types))
			return false;
	}
	copy = palloc(sizeof(KeyTypes));
	*copy = *types;
	naming->keys = lappend(naming->keys, copy);
	return true;
}

/* What a source's rows are called in its domain. */
static void
add_own_types(const NamingSource *source)
{
	Naming	   *naming = make_naming(source->domain);
	CanonicalType type;
	KeyTypes	keys = {source->nkeys};
	bool		complete = source->nkeys > 0;

	if (source->tenant_column != NULL)
	{
		type = type_of_column(source->relid, source->tenant_column,
							  &naming->vague_tenants);
		if (type.kind != CANONICAL_NONE)
			add_tenant_type(naming, &type);
	}
	for (int i = 0; i < source->nkeys; i++)
	{
		keys.types[i] = type_of_column(source->relid, source->key_columns[i],
									   &naming->vague_keys);
		complete &= keys.types[i].kind != CANONICAL_NONE;
	}
	if (complete)
		add_key_types(naming, &keys);
}

/* A rule carries changes on, and with them what they are called. */
static bool
carry_types(const Naming *from, const CascadeTarget *rule)
{
	Naming	   *to = make_naming(rule->domain);
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, rule->shared ? NIL : from->tenants)
		changed |= add_tenant_type(to, lfirst(lc));
	foreach(lc, rule->same_key ? from->keys : NIL)
		changed |= add_key_types(to, lfirst(lc));
	return changed;
}

static void
carry_all_types(void)
{
	List	   *queue = list_copy(named);
	ListCell   *lc;

	while (queue != NIL)
	{
		Domain	   *domain = llast(queue);

		queue = list_delete_last(queue);
		foreach(lc, inside(domain)->rules)
		{
			CascadeTarget *rule = lfirst(lc);

			if (rule->bump && carry_types(inside(domain)->naming, rule))
				queue = lappend(queue, rule->domain);
		}
	}
}

static uint32
type_code(const CanonicalType *type)
{
	/* Texts as they are: so is a name that nothing reads. */
	return type->kind == CANONICAL_TEXT ? 0 :
		hash_combine(murmurhash32(type->kind << 8 | type->element),
					 murmurhash32(type->type));
}

/* The same for the same types, in whatever order they were found. */
static uint32
naming_hash(const Naming *naming)
{
	uint32		code = naming->vague_tenants + 2 * naming->vague_keys;
	ListCell   *lc;

	foreach(lc, naming->tenants)
		code += type_code(lfirst(lc));

	/* Beside others, a text is one more type that has to agree. */
	if (list_length(naming->tenants) > 1)
		code += list_length(naming->tenants);
	foreach(lc, naming->keys)
	{
		KeyTypes   *types = lfirst(lc);
		uint32		hash = types->n;

		for (int i = 0; i < types->n; i++)
			hash = hash_combine(hash, type_code(&types->types[i]));
		code += murmurhash32(hash);
	}
	return code;
}

static void
read_types(void)
{
	uint64		reading = type_changes.count;
	MemoryContext old;
	ListCell   *lc;

	foreach(lc, named)
		inside(lfirst(lc))->naming = NULL;
	named = NIL;
	MemoryContextReset(namings_context);
	old = MemoryContextSwitchTo(namings_context);
	foreach(lc, sources)
		add_own_types(lfirst(lc));
	carry_all_types();
	foreach(lc, named)
	{
		Naming	   *naming = inside(lfirst(lc))->naming;

		naming->code = naming_hash(naming);
	}
	MemoryContextSwitchTo(old);
	types_read = reading;
}

/*
 * Bring Domain.naming up to date, and what watch_load() does.  May read the
 * catalogs, and wait for a lock on them; what it leaves stays valid until the
 * next call of this or of cascade_load().
 */
void
naming_load(void)
{
	uint64		reading = watch_load();

	if (sources_generation != reading)
		load_sources(reading);
	if (types_read != type_changes.count)
		read_types();
}

/* -------------------------------------------------------------------- names */

/* What tokens remember of how the domain's names are read. */
uint32
naming_code(const Domain *domain)
{
	return domain != NULL && inside(domain)->naming != NULL ? inside(domain)->naming->code : 0;
}

/* Does what a type makes of a text agree with what others have made of it? */
static bool
agrees(const CanonicalType *type, const char *string, const char **result,
	   int *len)
{
	const char *read;
	int			n;

	switch (canonical_name(type, string, &read, &n))
	{
		case NAME_UNKNOWN:
			return false;
		case NAME_NO_VALUE:
			return true;
		case NAME_EXACT:
			break;
	}
	if (*result != NULL)
		return *len == n && memcmp(*result, read, n) == 0;
	*result = read;
	*len = n;
	return true;
}

/*
 * What a tenant that somebody writes is called in the domain, zero-terminated;
 * NULL if that cannot be told: then it is the whole domain.
 */
const char *
naming_tenant(const Domain *domain, const char *written)
{
	const Naming *naming = domain ? inside(domain)->naming : NULL;
	const char *result = NULL;
	int			len = 0;
	ListCell   *lc;

	foreach(lc, naming ? naming->tenants : NIL)
	{
		if (!agrees(lfirst(lc), written, &result, &len))
			return NULL;
	}
	if (result == NULL)
	{
		if (naming && naming->vague_tenants && naming->tenants == NIL)
			return NULL;
		result = written;
		len = strlen(written);
	}
	return result == written && written[len] == '\0' ? written :
		pnstrdup(result, len);
}

/*
 * What a tenant of one domain is called in another that a rule carries its
 * changes on to; NULL if that cannot be told: then all tenants there.  The
 * rule has carried the types on as well, so the other one has no fewer; if it
 * has more, or the tenant is a setting's, the text is read as whoever asks
 * for it writes it.  naming_load() must have been called.
 */
const char *
naming_carried(const Domain *source, const Domain *target, const char *tenant)
{
	const Naming *from = inside(source)->naming;
	const Naming *to = inside(target)->naming;

	return list_length(from ? from->tenants : NIL) == list_length(to ? to->tenants : NIL) ?
		tenant : naming_tenant(target, tenant);
}

/* Do these types read each text as it is? */
static bool
reads_texts(const KeyTypes *types)
{
	for (int i = 0; i < types->n; i++)
		if (types->types[i].kind != CANONICAL_TEXT)
			return false;
	return true;
}

static bool
has_key_types(const Naming *naming, const KeyTypes *types)
{
	ListCell   *lc;

	foreach(lc, naming ? naming->keys : NIL)
	{
		if (same_key_types(lfirst(lc), types))
			return true;
	}
	return false;
}

/*
 * Are the keys of one domain called the same in another that a rule carries them
 * on to?  Not if that has others, which read a text as another one.
 */
bool
naming_carries_key(const Domain *source, const Domain *target)
{
	const Naming *from = inside(source)->naming;
	const Naming *to = inside(target)->naming;
	ListCell   *lc;

	foreach(lc, to ? to->keys : NIL)
	{
		const KeyTypes *types = lfirst(lc);

		if (!reads_texts(types) && !has_key_types(from, types))
			return false;
	}
	return true;
}

/* Read a key by the types of one table's columns; false: it cannot be told. */
static bool
read_key(const KeyTypes *types, const char *key, int len, StringInfo result,
		 bool *is_value)
{
	const char *part = key;

	*is_value = true;
	resetStringInfo(result);
	for (int i = 0; i < types->n; i++)
	{
		const char *text = NULL;
		int			size;

		if (part > key + len)
			return false;		/* too few columns */
		if (!agrees(&types->types[i], part, &text, &size))
			return false;
		if (text == NULL)
			*is_value = false;
		else
		{
			if (i > 0)
				appendStringInfoChar(result, KEY_SEPARATOR);
			appendBinaryStringInfo(result, text, size);
		}
		part += strlen(part) + 1;
	}
	return part == key + len + 1;	/* else too many */
}

/*
 * What a key that somebody writes is called in the domain: the texts of its
 * columns, with KEY_SEPARATOR, a zero byte, between them and another one at
 * the end.  False if that cannot be told: then it is the whole domain.
 */
bool
naming_key(const Domain *domain, const char *key, int len, StringInfo result)
{
	const Naming *naming = inside(domain)->naming;
	StringInfoData other;
	bool		found = false;
	ListCell   *lc;

	/* 'page/1/' is 'page/1/en' without its end rather than a key of its own. */
	if (naming == NULL || (len > 0 && key[len - 1] == KEY_SEPARATOR))
		return false;
	initStringInfo(&other);
	foreach(lc, naming->keys)
	{
		bool		is_value;

		if (!read_key(lfirst(lc), key, len, found ? &other : result, &is_value))
			return false;
		if (!is_value)
			continue;
		if (found && (other.len != result->len ||
					  memcmp(other.data, result->data, other.len) != 0))
			return false;
		found = true;
	}
	if (!found)
	{
		resetStringInfo(result);
		appendBinaryStringInfo(result, key, len);
	}
	return naming->keys != NIL;
}
