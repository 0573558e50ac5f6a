/*-------------------------------------------------------------------------
 *
 * canonical.h
 *	  Names that mean what SQL means by them: for canonical.c,
 *	  canonical_name.c, naming.c and key.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_CANONICAL_H
#define CACHE_NOTIFY_CANONICAL_H

#include "domain/domain.h"

/* CanonicalType.kind, and element */
typedef enum CanonicalKind
{
	CANONICAL_NONE,				/* cannot name anything */
	CANONICAL_TEXT,
	CANONICAL_BPCHAR,
	CANONICAL_CITEXT,
	CANONICAL_NAME,
	CANONICAL_ENUM,
	CANONICAL_INT2,
	CANONICAL_INT4,
	CANONICAL_INT8,
	CANONICAL_OID,
	CANONICAL_BOOL,
	CANONICAL_UUID,
	CANONICAL_NUMERIC,
	CANONICAL_FLOAT4,
	CANONICAL_FLOAT8,
	CANONICAL_DATE,
	CANONICAL_TIME,
	CANONICAL_TIMETZ,
	CANONICAL_TIMESTAMP,
	CANONICAL_TIMESTAMPTZ,
	CANONICAL_BYTEA,
	CANONICAL_INET,
	CANONICAL_OUTPUT,			/* as its output function writes them */
	CANONICAL_ARRAY
} CanonicalKind;

/* What a text that a caller writes is to a type. */
typedef enum NameMeaning
{
	NAME_EXACT,					/* one of its values */
	NAME_NO_VALUE,				/* none */
	NAME_UNKNOWN				/* that depends */
} NameMeaning;

/* canonical.c */
extern const char *canonical_citext(const char *string, int *len);
extern const char *canonical_array(Datum *elements, bool *nulls,
								   const struct ArrayType *shape, int *len);

/* canonical_name.c */
extern CanonicalType canonical_reader(CanonicalType type);
extern NameMeaning canonical_name(const CanonicalType *type,
								  const char *string,
								  const char **result, int *len);

/* naming.c */
extern bool naming_key(const Domain *domain, const char *key, int len,
					   StringInfo result);

#endif							/* CACHE_NOTIFY_CANONICAL_H */
