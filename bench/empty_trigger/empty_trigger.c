/*
 * Triggers that do nothing: what PostgreSQL itself charges for having one.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(empty_row_trigger);
PG_FUNCTION_INFO_V1(empty_statement_trigger);

/* The return value of an AFTER trigger is ignored. */
Datum
empty_row_trigger(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}

Datum
empty_statement_trigger(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}
