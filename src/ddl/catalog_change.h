/*-------------------------------------------------------------------------
 *
 * catalog_change.h
 *	  What this transaction has written into the catalogs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_CATALOG_CHANGE_H
#define CACHE_NOTIFY_CATALOG_CHANGE_H

#include "access/htup.h"
#include "access/tupdesc.h"

typedef void (*WrittenRowVisitor) (HeapTuple tuple, TupleDesc desc, void *arg);

extern bool catalog_row_deleted(HeapTuple tuple);
extern bool catalog_row_written(HeapTuple tuple);
extern bool catalog_object_was_there(Oid class, Oid objid);
extern bool catalog_relation_changed(Oid relid, AttrNumber column);
extern bool catalog_row_security_changed(Oid relid);
extern bool catalog_column_types_changed(Oid relid);
extern bool catalog_view_changed(Oid view);
extern bool catalog_function_changed(Oid function);
extern bool catalog_rights_changed(Oid relid);
extern bool catalog_schema_rights_changed(Oid schema);
extern bool catalog_role_changed(Oid role);
extern bool catalog_policy_changed(Oid policy);
extern bool catalog_type_changed(Oid type);
extern bool catalog_enum_grew(Oid type);
extern bool catalog_enum_changed(Oid type);
extern bool catalog_relation_redefined(Oid relid);
extern bool catalog_other_changed(Oid class, Oid objid);
extern bool catalog_server_changed(Oid server);
extern void visit_written_rows(Oid catalog, WrittenRowVisitor visit, void *arg);

#endif							/* CACHE_NOTIFY_CATALOG_CHANGE_H */
