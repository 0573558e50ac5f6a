/*-------------------------------------------------------------------------
 *
 * encoding.h
 *	  Strings that clients keep and give back: for encoding.c, token.c and
 *	  position.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_ENCODING_H
#define CACHE_NOTIFY_ENCODING_H

#include "lib/stringinfo.h"

/* What a string is: its first byte. */
#define KIND_TOKEN		0x13
#define KIND_POSITION	0x21

/* Reads an encoded string. */
typedef struct Decoder
{
	const char *next;
	const char *end;
	bool		failed;
} Decoder;

extern void encode_begin(StringInfo buf, uint8 kind);
extern void encode_integer(StringInfo buf, uint64 value);
extern void encode_fixed64(StringInfo buf, uint64 value);
extern void encode_string(StringInfo buf, const char *string);
extern text *encode_end(StringInfo buf);
extern text *encode_base64url(const char *bytes, int len);
extern bool decode_begin(Decoder *decoder, const text *string, uint8 *kind);
extern uint64 decode_integer(Decoder *decoder);
extern uint64 decode_fixed64(Decoder *decoder);
extern char *decode_string(Decoder *decoder);
extern bool decode_end(Decoder *decoder);

#endif							/* CACHE_NOTIFY_ENCODING_H */
