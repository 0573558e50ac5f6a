/*-------------------------------------------------------------------------
 *
 * bucket.c
 *	  The buckets that keys fall into; key.c says what they are.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain.h"

#include "utils/builtins.h"

/* Digits of the number of a bucket, and more. */
#define MAX_BUCKET_DIGITS 10

uint32
bucket_of_hash(int64 bucket_layout, uint32 hash)
{
	return hash & (bucket_count(bucket_layout) - 1);
}

/*
 * The name of a bucket's counter, palloc'd.  Not by psprintf(), as each commit
 * of a table with keys needs one.
 */
const char *
bucket_name(const char *domain, int64 bucket_layout, uint32 bucket)
{
	static const char prefix[] = INTERNAL_PREFIX "key/";
	Size		domain_size = strlen(domain) + 1;
	char	   *name = palloc(sizeof(prefix) + MAXINT8LEN + 1 +
							  MAX_BUCKET_DIGITS + 1 + domain_size);
	char	   *end = name + sizeof(prefix) - 1;

	memcpy(name, prefix, sizeof(prefix) - 1);
	end += pg_lltoa(bucket_layout, end);
	*end++ = '/';
	end += pg_ultoa_n(bucket, end);
	*end++ = '/';
	memcpy(end, domain, domain_size);
	return name;
}
