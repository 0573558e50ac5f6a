/*-------------------------------------------------------------------------
 *
 * schema_effect.c
 *	  Which domains it concerns that a relation, a type, a policy, a schema or
 *	  a definition has changed.
 *
 * schema_event.c knows what a command did; the functions here add the domains
 * to its SchemaEvent, which bumps each of them once.
 *
 * Locking: AccessShareLock on the catalogs that are read.  The relations were
 * locked by the command.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "ddl/command_effect.h"

typedef void (*DependentVisitor) (SchemaEvent *event, Oid class, Oid objid,
								  List **seen);

void
add_domain(SchemaEvent *event, const char *name)
{
	if (name != NULL)
		event->domains = list_append_unique_ptr(event->domains,
												domain_lookup(name));
}

void
add_watches(SchemaEvent *event, List *watches)
{
	ListCell   *lc;

	foreach(lc, watches)
		add_domain(event, ((Watch *) lfirst(lc))->domain);
}

/*
 * A watch is removed, or replaced by one of another domain or channel: what
 * is cached because of it must go now, and has no later chance.
 */
void
add_former(SchemaEvent *event, Watch *watch)
{
	if (watch->domain == NULL)
		return;
	add_domain(event, watch->domain);
	event->former = lappend(event->former, watch);
}

/* What a relation returns has changed. */
void
relation_changed(SchemaEvent *event, Oid relid)
{
	if (OidIsValid(relid))
		add_watches(event, watches_of_relation(relid, WATCH_NOW));
}

/* Visit what depends on an object, by pg_depend. */
static void
visit_dependents(Oid class, Oid objid, DependentVisitor visit, SchemaEvent *event,
				 List **seen)
{
	Relation	pg_depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(class));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(objid));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true, NULL,
							  2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		visit(event, depend->classid, depend->objid, seen);
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);
}

/* A copy of the row of an object, in a catalog with this index of OIDs; NULL: none. */
static HeapTuple
row_of_object(Oid catalog, Oid index, AttrNumber column, Oid objid,
			  Snapshot snapshot)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(objid));
	scan = systable_beginscan(rel, index, true, snapshot, 1, &key);
	tuple = heap_copytuple(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

static Oid
view_of_rule(Oid rule)
{
	HeapTuple	tuple = row_of_object(RewriteRelationId, RewriteOidIndexId,
									  Anum_pg_rewrite_oid, rule, NULL);

	return HeapTupleIsValid(tuple) ?
		((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class : InvalidOid;
}

/*
 * A policy that calls a function, or reads a view, decides what its table
 * returns.  It may do so by way of other views, and of functions whose bodies
 * are kept parsed.
 */
static void
visit_user(SchemaEvent *event, Oid class, Oid objid, List **seen)
{
	if (list_member_oid(*seen, objid))
		return;
	*seen = lappend_oid(*seen, objid);
	if (class == PolicyRelationId)
		relation_changed(event, table_of_policy(objid, NULL));
	else if (class == RewriteRelationId)
		visit_dependents(RelationRelationId, view_of_rule(objid), visit_user,
						 event, seen);
	else if (class == ProcedureRelationId)
		visit_dependents(class, objid, visit_user, event, seen);
}

/* The same for those who know it by its name; NULL: it has none. */
void
definition_of_name_changed(SchemaEvent *event, const char *name)
{
	if (name != NULL)
		add_domain(event, definition_domain_of_name(name));
}

/* What a view, a function or a type stands for has changed. */
void
definition_changed(SchemaEvent *event, Oid class, Oid objid)
{
	List	   *seen = NIL;

	add_domain(event, definition_domain(objid));
	definition_of_name_changed(event, definition_name(class, objid));
	visit_dependents(class, objid, visit_user, event, &seen);
}

void
view_changed(SchemaEvent *event, Oid view)
{
	List	   *seen = NIL;

	definition_changed(event, RelationRelationId, view);
	relation_changed(event, view);	/* the domain in its label */
	type_changed(event, get_rel_type_id(view), &seen);
}

static void
visit_type_user(SchemaEvent *event, Oid class, Oid objid, List **seen)
{
	if (class == TypeRelationId)
		type_changed(event, objid, seen);
	else if (class == RelationRelationId)
	{
		relation_changed(event, objid);

		/* Its rows may be values as well. */
		type_changed(event, get_rel_type_id(objid), seen);
	}
}

/*
 * Values of a type read differently, or have other parts: visit the tables
 * with a column of the type, and types made of it.  What has the type in an
 * expression depends on its definition.
 */
void
type_changed(SchemaEvent *event, Oid type, List **seen)
{
	if (!OidIsValid(type) || list_member_oid(*seen, type))
		return;
	*seen = lappend_oid(*seen, type);
	definition_changed(event, TypeRelationId, type);
	type_changed(event, get_array_type(type), seen);
	visit_dependents(TypeRelationId, type, visit_type_user, event, seen);
}

/* What a relation, whatever its kind, or a tree of tables returns. */
void
tree_changed(SchemaEvent *event, Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	List	   *seen = NIL;
	ListCell   *lc;

	if (relkind == RELKIND_VIEW)
		view_changed(event, relid);
	else if (relkind == RELKIND_MATVIEW)
		relation_changed(event, relid);
	else if (relkind == RELKIND_COMPOSITE_TYPE)
		type_changed(event, get_rel_type_id(relid), &seen);
	else if (relkind == RELKIND_RELATION ||
			 relkind == RELKIND_PARTITIONED_TABLE ||
			 relkind == RELKIND_FOREIGN_TABLE)
		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		relation_changed(event, lfirst_oid(lc));
		type_changed(event, get_rel_type_id(lfirst_oid(lc)), &seen);
	}
}

/*
 * A cast is there, or just dropped: expressions of its types may be read
 * otherwise.
 */
void
cast_changed(SchemaEvent *event, Oid cast, Snapshot snapshot)
{
	HeapTuple	tuple = row_of_object(CastRelationId, CastOidIndexId,
									  Anum_pg_cast_oid, cast, snapshot);
	Form_pg_cast form;
	List	   *seen = NIL;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_cast) GETSTRUCT(tuple);
	if (form->castsource >= FirstNormalObjectId)
		type_changed(event, form->castsource, &seen);
	if (form->casttarget >= FirstNormalObjectId)
		type_changed(event, form->casttarget, &seen);
	if (form->castfunc >= FirstNormalObjectId)
		definition_changed(event, ProcedureRelationId, form->castfunc);
}

/*
 * An operator class is there, or just dropped: values compare otherwise by its
 * family, or by the default of its type.
 */
void
operator_class_changed(SchemaEvent *event, Oid opclass, Snapshot snapshot)
{
	HeapTuple	tuple = row_of_object(OperatorClassRelationId, OpclassOidIndexId,
									  Anum_pg_opclass_oid, opclass, snapshot);
	Form_pg_opclass form;
	List	   *seen = NIL;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	definition_changed(event, OperatorFamilyRelationId, form->opcfamily);
	if (form->opcdefault && form->opcintype >= FirstNormalObjectId)
		type_changed(event, form->opcintype, &seen);
}

/* Something is about to be dropped, or (SnapshotAny) was: what it stood for. */
void
definition_dropped(SchemaEvent *event, Oid class, Oid objid, Snapshot snapshot)
{
	switch (class)
	{
		case ProcedureRelationId:
		case TypeRelationId:
		case OperatorRelationId:
		case CollationRelationId:
		case OperatorFamilyRelationId:
			definition_changed(event, class, objid);
			break;
		case OperatorClassRelationId:
			operator_class_changed(event, objid, snapshot);
			break;
		case CastRelationId:
			cast_changed(event, objid, snapshot);
			break;
		case PolicyRelationId:
			relation_changed(event, table_of_policy(objid, snapshot));
			break;
	}
}

/* The table of a row security policy, there or just dropped. */
Oid
table_of_policy(Oid policy, Snapshot snapshot)
{
	HeapTuple	tuple = row_of_object(PolicyRelationId, PolicyOidIndexId,
									  Anum_pg_policy_oid, policy, snapshot);

	return HeapTupleIsValid(tuple) ?
		((Form_pg_policy) GETSTRUCT(tuple))->polrelid : InvalidOid;
}

/* Tables with row security show other rows, as roles are members of others. */
void
roles_changed(SchemaEvent *event)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	add_domain(event, definition_domain(AuthIdRelationId));
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relrowsecurity)
			relation_changed(event, form->oid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Foreign tables are read from elsewhere: those of a server, or of any. */
void
server_changed(SchemaEvent *event, Oid server)
{
	Relation	rel = table_open(ForeignTableRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_table form = (Form_pg_foreign_table) GETSTRUCT(tuple);

		if (!OidIsValid(server) || form->ftserver == server)
			relation_changed(event, form->ftrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Any change of text search concerns all that uses it. */
void
text_search_changed(SchemaEvent *event)
{
	add_domain(event, definition_domain(TSConfigRelationId));
}
