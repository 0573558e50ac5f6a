/*-------------------------------------------------------------------------
 *
 * json_text.h
 *	  JSON in ASCII, whatever the text is: for the payloads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_JSON_TEXT_H
#define CACHE_NOTIFY_JSON_TEXT_H

#include "lib/stringinfo.h"

extern void json_text_prepare(void);
extern bool append_ascii_json(StringInfo buf, const char *json, int len);
extern bool append_json_string(StringInfo buf, const char *text);

#endif							/* CACHE_NOTIFY_JSON_TEXT_H */
