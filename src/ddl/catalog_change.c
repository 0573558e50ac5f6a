/*-------------------------------------------------------------------------
 *
 * catalog_change.c
 *	  What this transaction has written into the catalogs.
 *
 * A command may be one that leaves everything as it was: CREATE OR REPLACE with
 * the same definition, OWNER TO the owner.  Migrations do that each time an
 * application starts.  So the row version that a command has replaced, which is
 * still there, is compared with the one that replaced it.
 *
 * If a transaction changes a row twice, both commands are taken to have.
 *
 * Locking: AccessShareLock on the catalogs that are read, kept no longer than
 * the reading.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "ddl/catalog_change.h"

/* Rows of a catalog, found by an OID that is the first column of an index. */
typedef struct CatalogRows
{
	Oid			catalog;
	Oid			index;
	AttrNumber	key;
	AttrNumber	identity;		/* and told apart by this column, or 0 */
} CatalogRows;

static const CatalogRows class_rows = {
	RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, 0
};
static const CatalogRows attribute_rows = {
	AttributeRelationId, AttributeRelidNumIndexId, Anum_pg_attribute_attrelid,
	Anum_pg_attribute_attnum
};
static const CatalogRows rewrite_rows = {
	RewriteRelationId, RewriteRelRulenameIndexId, Anum_pg_rewrite_ev_class,
	Anum_pg_rewrite_rulename
};
static const CatalogRows proc_rows = {
	ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid, 0
};
static const CatalogRows aggregate_rows = {
	AggregateRelationId, AggregateFnoidIndexId, Anum_pg_aggregate_aggfnoid, 0
};
static const CatalogRows policy_rows = {
	PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid, 0
};
static const CatalogRows type_rows = {
	TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, 0
};
static const CatalogRows enum_rows = {
	EnumRelationId, EnumTypIdLabelIndexId, Anum_pg_enum_enumtypid,
	Anum_pg_enum_oid
};
static const CatalogRows namespace_rows = {
	NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid, 0
};
static const CatalogRows authid_rows = {
	AuthIdRelationId, AuthIdOidIndexId, Anum_pg_authid_oid, 0
};
static const CatalogRows operator_rows = {
	OperatorRelationId, OperatorOidIndexId, Anum_pg_operator_oid, 0
};
static const CatalogRows collation_rows = {
	CollationRelationId, CollationOidIndexId, Anum_pg_collation_oid, 0
};
static const CatalogRows server_rows = {
	ForeignServerRelationId, ForeignServerOidIndexId, Anum_pg_foreign_server_oid, 0
};

/* Of rows that are the same if their identity is. */
static const AttrNumber no_columns[] = {0};

/* Was this row version deleted or replaced by the current transaction? */
bool
catalog_row_deleted(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header));
}

/* Was it written by it? */
bool
catalog_row_written(HeapTuple tuple)
{
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

/*
 * Skip what a parsed query says of the places in its text that things come
 * from: CREATE OR REPLACE is longer than CREATE.
 */
static const char *
skip_location(const char *p)
{
	static const char *const names[] = {"location ", "stmt_len "};

	for (int i = 0; i < lengthof(names); i++)
	{
		size_t		len = strlen(names[i]);

		if (strncmp(p, names[i], len) == 0)
			return p + len + strspn(p + len, "-0123456789");
	}
	return p;
}

/* Are these the same expressions, but for the places they come from? */
static bool
same_expressions(const char *p, const char *q)
{
	for (;; p++, q++)
	{
		p = skip_location(p);
		q = skip_location(q);
		if (*p != *q)
			return false;
		if (*p == '\0')
			return true;
	}
}

/* The query of a view, however it was made. */
static const char *
as_view_query(const char *tree)
{
	Node	   *node = stringToNode(tree);

	if (node == NULL || !IsA(node, List) ||
		list_length((List *) node) != 1 || !IsA(linitial((List *) node), Query))
		return tree;
	compat_without_rule_entries(linitial((List *) node));
	return nodeToString(node);
}

/* Are these the same parsed expressions? */
static bool
same_node_tree(Datum a, Datum b)
{
	const char *p = TextDatumGetCString(a);
	const char *q = TextDatumGetCString(b);

	return same_expressions(p, q) ||
		same_expressions(as_view_query(p), as_view_query(q));
}

static bool
same_attribute(HeapTuple a, HeapTuple b, TupleDesc desc, AttrNumber column)
{
	Form_pg_attribute attr = TupleDescAttr(desc, column - 1);
	bool		a_null,
				b_null;
	Datum		a_value = heap_getattr(a, column, desc, &a_null);
	Datum		b_value = heap_getattr(b, column, desc, &b_null);

	if (a_null || b_null)
		return a_null == b_null;
	if (attr->atttypid == PG_NODE_TREEOID)
		return same_node_tree(a_value, b_value);
	return datum_image_eq(a_value, b_value, attr->attbyval, attr->attlen);
}

/* Are two rows the same in these columns, or in all (NULL)? */
static bool
same_rows(HeapTuple a, HeapTuple b, TupleDesc desc, const AttrNumber *columns)
{
	if (columns == NULL)
	{
		for (int i = 1; i <= desc->natts; i++)
			if (!same_attribute(a, b, desc, i))
				return false;
		return true;
	}
	for (; *columns != 0; columns++)
		if (!same_attribute(a, b, desc, *columns))
			return false;
	return true;
}

/* The rows as they are (NULL), or those that this transaction has replaced. */
static List *
find_rows(Relation rel, const CatalogRows *rows, Oid oid, Snapshot snapshot)
{
	List	   *found = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, rows->key, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, rows->index, true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (snapshot == NULL || catalog_row_deleted(tuple))
			found = lappend(found, heap_copytuple(tuple));
	systable_endscan(scan);
	return found;
}

static bool
is_among(HeapTuple replaced, List *now, const CatalogRows *rows, TupleDesc desc,
		 const AttrNumber *columns)
{
	ListCell   *lc;

	foreach(lc, now)
	{
		if ((rows->identity == 0 ||
			 same_attribute(replaced, lfirst(lc), desc, rows->identity)) &&
			same_rows(replaced, lfirst(lc), desc, columns))
			return true;
	}
	return false;
}

/*
 * Has this transaction changed the rows of an object in one of the columns (0
 * ends them; NULL: in any), rather than written them for the first time?
 */
static bool
rows_changed(const CatalogRows *rows, Oid oid, const AttrNumber *columns)
{
	Relation	rel = table_open(rows->catalog, AccessShareLock);
	List	   *replaced = find_rows(rel, rows, oid, SnapshotAny);
	List	   *now = replaced != NIL ? find_rows(rel, rows, oid, NULL) : NIL;
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, replaced)
		changed |= !is_among(lfirst(lc), now, rows, RelationGetDescr(rel), columns);
	table_close(rel, AccessShareLock);
	return changed;
}

/*
 * Was an object there before this transaction wrote it?  For relations and
 * functions; others are never replaced.
 */
bool
catalog_object_was_there(Oid class, Oid objid)
{
	const CatalogRows *rows = class == RelationRelationId ? &class_rows :
		class == ProcedureRelationId ? &proc_rows : NULL;
	Relation	rel;
	bool		was_there = false;
	ListCell   *lc;

	if (rows == NULL)
		return false;
	rel = table_open(rows->catalog, AccessShareLock);
	foreach(lc, find_rows(rel, rows, objid, SnapshotAny))
		was_there |= !catalog_row_written(lfirst(lc));
	table_close(rel, AccessShareLock);
	return was_there;
}

bool
catalog_relation_changed(Oid relid, AttrNumber column)
{
	AttrNumber	columns[] = {column, 0};

	return rows_changed(&class_rows, relid, columns);
}

/* What decides which rows a role sees of a table. */
bool
catalog_row_security_changed(Oid relid)
{
	static const AttrNumber columns[] = {
		Anum_pg_class_relrowsecurity, Anum_pg_class_relforcerowsecurity, 0
	};

	return rows_changed(&class_rows, relid, columns);
}

/* Have columns other types, or has the table been written anew? */
bool
catalog_column_types_changed(Oid relid)
{
	static const AttrNumber columns[] = {
		Anum_pg_attribute_atttypid, Anum_pg_attribute_atttypmod,
		Anum_pg_attribute_attcollation, 0
	};

	return rows_changed(&attribute_rows, relid, columns) ||
		catalog_relation_changed(relid, Anum_pg_class_relfilenode);
}

/* Has this transaction given a relation columns? */
static bool
column_added(Oid relid)
{
	Relation	rel = table_open(AttributeRelationId, AccessShareLock);
	List	   *replaced = find_rows(rel, &attribute_rows, relid, SnapshotAny);
	bool		added = false;
	ListCell   *lc;

	foreach(lc, find_rows(rel, &attribute_rows, relid, NULL))
	{
		added |= catalog_row_written(lfirst(lc)) &&
			!is_among(lfirst(lc), replaced, &attribute_rows,
					  RelationGetDescr(rel), no_columns);
	}
	table_close(rel, AccessShareLock);
	return added;
}

/* Has this transaction made a relation? */
static bool
is_new_relation(Oid relid)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	List	   *now = find_rows(rel, &class_rows, relid, NULL);
	bool		written = now != NIL && catalog_row_written(linitial(now));

	table_close(rel, AccessShareLock);
	return written && !catalog_object_was_there(RelationRelationId, relid);
}

/*
 * Has a relation another name, owner or row security, or columns of other names
 * or types, or more of them?
 */
bool
catalog_relation_redefined(Oid relid)
{
	static const AttrNumber columns[] = {
		Anum_pg_class_relname, Anum_pg_class_relnamespace,
		Anum_pg_class_relowner, Anum_pg_class_relpersistence,
		Anum_pg_class_relrowsecurity, Anum_pg_class_relforcerowsecurity, 0
	};
	static const AttrNumber of_attributes[] = {
		Anum_pg_attribute_attname, Anum_pg_attribute_atttypid,
		Anum_pg_attribute_atttypmod, Anum_pg_attribute_attcollation, 0
	};

	return rows_changed(&class_rows, relid, columns) ||
		rows_changed(&attribute_rows, relid, of_attributes) ||
		(column_added(relid) && !is_new_relation(relid));
}

/* Has a view another query, owner or option?  Names and types are in the query. */
bool
catalog_view_changed(Oid view)
{
	static const AttrNumber columns[] = {
		Anum_pg_class_relowner, Anum_pg_class_reloptions, 0
	};

	return rows_changed(&rewrite_rows, view, NULL) ||
		rows_changed(&class_rows, view, columns);
}

bool
catalog_function_changed(Oid function)
{
	return rows_changed(&proc_rows, function, NULL) ||
		rows_changed(&aggregate_rows, function, NULL);
}

/* Who may read a table, or columns of it? */
bool
catalog_rights_changed(Oid relid)
{
	static const AttrNumber columns[] = {Anum_pg_attribute_attacl, 0};

	return catalog_relation_changed(relid, Anum_pg_class_relacl) ||
		rows_changed(&attribute_rows, relid, columns);
}

bool
catalog_schema_rights_changed(Oid schema)
{
	static const AttrNumber columns[] = {Anum_pg_namespace_nspacl, 0};

	return rows_changed(&namespace_rows, schema, columns);
}

/* What decides as whom a role reads. */
bool
catalog_role_changed(Oid role)
{
	static const AttrNumber columns[] = {
		Anum_pg_authid_rolname, Anum_pg_authid_rolsuper,
		Anum_pg_authid_rolinherit, Anum_pg_authid_rolbypassrls, 0
	};

	return rows_changed(&authid_rows, role, columns);
}

bool
catalog_policy_changed(Oid policy)
{
	return rows_changed(&policy_rows, policy, NULL);
}

bool
catalog_type_changed(Oid type)
{
	return rows_changed(&type_rows, type, NULL);
}

/* An operator or a collation. */
bool
catalog_other_changed(Oid class, Oid objid)
{
	return rows_changed(class == OperatorRelationId ? &operator_rows :
						&collation_rows, objid, NULL);
}

bool
catalog_server_changed(Oid server)
{
	return rows_changed(&server_rows, server, NULL);
}

/* Has this transaction added values to an enum? */
bool
catalog_enum_grew(Oid type)
{
	Relation	rel = table_open(EnumRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(rel, EnumTypIdLabelIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = catalog_row_written(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Has it given values of an enum other names? */
bool
catalog_enum_changed(Oid type)
{
	static const AttrNumber columns[] = {Anum_pg_enum_enumlabel, 0};

	return rows_changed(&enum_rows, type, columns);
}

/*
 * Visit the rows of a catalog that this transaction has written or deleted.
 * Reads all of it: for commands that happen seldom.
 */
void
visit_written_rows(Oid catalog, WrittenRowVisitor visit, void *arg)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotAny,
										  0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (catalog_row_deleted(tuple) || catalog_row_written(tuple))
			visit(tuple, RelationGetDescr(rel), arg);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}
