/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  The opaque strings that clients keep: tokens and positions.
 *
 * Such a string is a kind byte, a body of variable-length integers and
 * counted strings, and a checksum, all in base64url without padding, so that it
 * can stand in a URL, a header or a JSON string as it is.
 *
 * The checksum tells a string that has been cut, joined or mistyped from one
 * that is merely old.  It proves nothing about who made it: a client that
 * forges a token fools nobody but itself.
 *
 * A string with a right checksum and an unknown kind byte may be of another
 * release of this extension; the caller decides what that means.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "common/hashfn.h"
#include "port/pg_bswap.h"

#include "ask/encoding.h"

#define CHECKSUM_LEN	4
#define MAX_VARINT_LEN	10		/* 64 bits by 7 */
#define INVALID_DIGIT	0xFF

static const char digits[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
encode_begin(StringInfo buf, uint8 kind)
{
	initStringInfo(buf);
	appendStringInfoCharMacro(buf, (char) kind);
}

void
encode_integer(StringInfo buf, uint64 value)
{
	while (value >= 0x80)
	{
		appendStringInfoCharMacro(buf, (char) (value | 0x80));
		value >>= 7;
	}
	appendStringInfoCharMacro(buf, (char) value);
}

void
encode_fixed64(StringInfo buf, uint64 value)
{
	value = pg_hton64(value);
	appendBinaryStringInfo(buf, (char *) &value, sizeof(value));
}

void
encode_string(StringInfo buf, const char *string)
{
	size_t		len = strlen(string);

	encode_integer(buf, len);
	appendBinaryStringInfo(buf, string, len);
}

/* Base64url of some bytes, as a text. */
text *
encode_base64url(const char *bytes, int len)
{
	const unsigned char *src = (const unsigned char *) bytes;
	int			result_len = (len * 8 + 5) / 6;
	text	   *result = palloc(VARHDRSZ + result_len);
	char	   *dst = VARDATA(result);
	uint32		pending = 0;
	int			nbits = 0;

	SET_VARSIZE(result, VARHDRSZ + result_len);
	for (int i = 0; i < len; i++)
	{
		pending = (pending << 8) | src[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			*dst++ = digits[(pending >> (nbits - 6)) & 0x3F];
	}
	if (nbits > 0)
		*dst++ = digits[(pending << (6 - nbits)) & 0x3F];
	Assert(dst == VARDATA(result) + result_len);
	return result;
}

static uint32
checksum(const char *bytes, int len)
{
	return pg_hton32(hash_bytes((const unsigned char *) bytes, len));
}

/* Add the checksum and return the string. */
text *
encode_end(StringInfo buf)
{
	uint32		sum = checksum(buf->data, buf->len);

	appendBinaryStringInfo(buf, (char *) &sum, CHECKSUM_LEN);
	return encode_base64url(buf->data, buf->len);
}

static const uint8 *
digit_values(void)
{
	static uint8 values[256];
	static bool ready = false;	/* of the backend: values never change */

	if (!ready)
	{
		memset(values, INVALID_DIGIT, sizeof(values));
		for (int i = 0; i < 64; i++)
			values[(unsigned char) digits[i]] = i;
		ready = true;
	}
	return values;
}

/* Undo encode_base64url() into palloc'd bytes; -1 if it cannot be. */
static int
decode_base64url(const text *string, char **bytes)
{
	const uint8 *values = digit_values();
	const unsigned char *src = (const unsigned char *) VARDATA_ANY(string);
	int			len = VARSIZE_ANY_EXHDR(string);
	char	   *dst = palloc(len + 1);
	uint32		pending = 0;
	int			nbits = 0;

	*bytes = dst;
	for (int i = 0; i < len; i++)
	{
		uint8		value = values[src[i]];

		if (value == INVALID_DIGIT)
			return -1;
		pending = (pending << 6) | value;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			*dst++ = (char) (pending >> nbits);
		}
	}
	/* What is left over must be zero bits, and less than a digit. */
	if (nbits >= 6 || (pending & ((1 << nbits) - 1)) != 0)
		return -1;
	return dst - *bytes;
}

/*
 * Begin to read a string.  False if it was never made by encode_end().
 * Sets *kind, which the caller must look at before it reads on.
 */
bool
decode_begin(Decoder *decoder, const text *string, uint8 *kind)
{
	char	   *bytes;
	int			len = decode_base64url(string, &bytes);
	uint32		sum;

	if (len < 1 + CHECKSUM_LEN)
		return false;
	memcpy(&sum, bytes + len - CHECKSUM_LEN, CHECKSUM_LEN);
	if (sum != checksum(bytes, len - CHECKSUM_LEN))
		return false;
	*kind = (uint8) bytes[0];
	decoder->next = bytes + 1;
	decoder->end = bytes + len - CHECKSUM_LEN;
	decoder->failed = false;
	return true;
}

/*
 * The functions that follow set decoder->failed, and return zero, when there
 * is nothing to read any more.  The caller tests it once, at the end.
 */
uint64
decode_integer(Decoder *decoder)
{
	uint64		value = 0;

	for (int i = 0; i < MAX_VARINT_LEN && decoder->next < decoder->end; i++)
	{
		uint8		byte = (uint8) *decoder->next++;

		value |= (uint64) (byte & 0x7F) << (7 * i);
		if (byte < 0x80)
			return value;
	}
	decoder->failed = true;
	return 0;
}

uint64
decode_fixed64(Decoder *decoder)
{
	uint64		value;

	if (decoder->end - decoder->next < (ptrdiff_t) sizeof(value))
	{
		decoder->failed = true;
		return 0;
	}
	memcpy(&value, decoder->next, sizeof(value));
	decoder->next += sizeof(value);
	return pg_ntoh64(value);
}

/* What encode_string() wrote. */
char *
decode_string(Decoder *decoder)
{
	uint64		len = decode_integer(decoder);
	char	   *string;

	if (len > (uint64) (decoder->end - decoder->next))
	{
		decoder->failed = true;
		len = 0;
	}
	string = pnstrdup(decoder->next, len);
	decoder->next += len;
	return string;
}

/* Everything read, and nothing left? */
bool
decode_end(Decoder *decoder)
{
	return !decoder->failed && decoder->next == decoder->end;
}
