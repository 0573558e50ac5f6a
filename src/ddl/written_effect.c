/*-------------------------------------------------------------------------
 *
 * written_effect.c
 *	  Whom it concerns that the transaction has written to the catalogs.
 *
 * For commands that do not say which objects they change, or that the server
 * tells nobody of: all rows of the catalogs that the transaction has written or
 * deleted are looked for.  That is coarser than what the commands did, and
 * takes reading these catalogs; such commands happen seldom.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_config_map.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "utils/lsyscache.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"

/* Which column of a catalog's rows names an object, and of which catalog. */
static const struct
{
	Oid			catalog;
	AttrNumber	column;
	Oid			class;
}			written[] = {
	{RelationRelationId, Anum_pg_class_oid, RelationRelationId},
	{AttributeRelationId, Anum_pg_attribute_attrelid, RelationRelationId},
	{InheritsRelationId, Anum_pg_inherits_inhrelid, RelationRelationId},
	{InheritsRelationId, Anum_pg_inherits_inhparent, RelationRelationId},
	{RewriteRelationId, Anum_pg_rewrite_ev_class, RelationRelationId},
	{PolicyRelationId, Anum_pg_policy_polrelid, RelationRelationId},
	{ForeignTableRelationId, Anum_pg_foreign_table_ftrelid, RelationRelationId},
	{ProcedureRelationId, Anum_pg_proc_oid, ProcedureRelationId},
	{TypeRelationId, Anum_pg_type_oid, TypeRelationId},
	{OperatorRelationId, Anum_pg_operator_oid, OperatorRelationId},
	{EnumRelationId, Anum_pg_enum_enumtypid, TypeRelationId},
	{ForeignServerRelationId, Anum_pg_foreign_server_oid, ForeignServerRelationId},
	{UserMappingRelationId, Anum_pg_user_mapping_umserver, ForeignServerRelationId},
	{TSConfigRelationId, Anum_pg_ts_config_oid, TSConfigRelationId},
	{TSConfigMapRelationId, Anum_pg_ts_config_map_mapcfg, TSConfigRelationId},
	{TSDictionaryRelationId, Anum_pg_ts_dict_oid, TSConfigRelationId}
};

/* The objects that the rows of one catalog name. */
typedef struct WrittenObjects
{
	AttrNumber	column;
	List	   *objects;		/* OIDs */
} WrittenObjects;

static void
visit_row(HeapTuple tuple, TupleDesc desc, void *arg)
{
	WrittenObjects *found = arg;
	bool		isnull;
	Datum		object = heap_getattr(tuple, found->column, desc, &isnull);

	if (!isnull)
		found->objects = lappend_oid(found->objects, DatumGetObjectId(object));
}

static void
relation_written(SchemaEvent *event, Oid relid)
{
	ListCell   *lc;

	if (get_rel_relkind(relid) != '\0')
	{
		tree_changed(event, relid);
		return;
	}
	foreach(lc, watches_of_relation(relid, WATCH_REMOVED))
		add_former(event, lfirst(lc));
	definition_changed(event, RelationRelationId, relid);
}

static void
object_written(SchemaEvent *event, Oid class, Oid objid)
{
	List	   *seen = NIL;

	switch (class)
	{
		case RelationRelationId:
			relation_written(event, objid);
			break;
		case ProcedureRelationId:
		case OperatorRelationId:
			definition_changed(event, class, objid);
			break;
		case TypeRelationId:
			type_changed(event, objid, &seen);
			break;
		case ForeignServerRelationId:
			server_changed(event, objid);
			break;
		case TSConfigRelationId:
			text_search_changed(event);
			break;
	}
}

/* All that the transaction has written may have changed what is returned. */
void
written_rows_changed(SchemaEvent *event)
{
	for (int i = 0; i < lengthof(written); i++)
	{
		WrittenObjects found = {written[i].column, NIL};
		ListCell   *lc;

		visit_written_rows(written[i].catalog, visit_row, &found);
		list_sort(found.objects, list_oid_cmp);
		list_deduplicate_oid(found.objects);
		foreach(lc, found.objects)
			object_written(event, written[i].class, lfirst_oid(lc));
	}
}
