/*-------------------------------------------------------------------------
 *
 * rule_note.c
 *	  Cascade rules that a watched relation says there are.
 *
 * Rules are entries of the configuration (stored.c), which is not in a dump of
 * single tables, nor in one without our schemas, and which nobody but a superuser
 * can restore.  A domain that has lost a rule but is also fed by a table would go
 * on having tokens.  So what relations are watched with, which every dump of
 * them has, says which rules there are: an argument "rule=..." for each rule from
 * their domain, for each into it from a domain that no relation feeds, and for those
 * between such domains, where such rules lead to it or away from it.  While one of
 * these is not there, its target is not known.  Whoever may write rules of his own
 * domains only has no table noted but his own, and so locks no other.
 *
 * What a note says is <rule_type>/<keys>/<tenants>/<target>/<source>, as in
 * cascade_rules; of the domains only the source can have slashes.  Triggers for
 * each statement have notes, those for each row have none, nor have those that
 * were made because of a parent's.  Notes are no part of how a relation is watched:
 * two Watches that differ in them only are the same.
 *
 * rule_note_write.c writes them.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/option.h"

#define NOTE_ARGUMENT	"rule="

/* Is this argument a note? */
bool
is_rule_note(const char *argument)
{
	return strncmp(argument, NOTE_ARGUMENT, strlen(NOTE_ARGUMENT)) == 0;
}

/* The argument that a note is.  palloc'd */
char *
rule_note_argument(const char *note)
{
	return psprintf(NOTE_ARGUMENT "%s", note);
}

/* What comes before the next slash; *from is behind it then.  False if it is too long. */
static bool
take_field(const char **from, char *field)
{
	size_t		len = strcspn(*from, "/");

	if (len == 0 || len >= NAMEDATALEN || (*from)[len] == '\0')
		return false;
	memcpy(field, *from, len);
	field[len] = '\0';
	*from += len + 1;
	return true;
}

static bool
is_either(const char *field, const char *a, const char *b)
{
	return strcmp(field, a) == 0 || strcmp(field, b) == 0;
}

/* Read a note, which may be anybody's.  False if it makes no sense. */
bool
rule_note_read(const char *note, NotedRule *rule)
{
	char		type[NAMEDATALEN];
	char		keys[NAMEDATALEN];
	char		tenants[NAMEDATALEN];

	if (!take_field(&note, type) || !is_either(type, "invalidate", "notify") ||
		!take_field(&note, keys) || !is_either(keys, "all", "same") ||
		!take_field(&note, tenants) || !is_either(tenants, "all", "same") ||
		!take_field(&note, rule->target) ||
		note[0] == '\0' || strlen(note) >= NAMEDATALEN)
		return false;
	strlcpy(rule->source, note, NAMEDATALEN);
	rule->bump = strcmp(type, "invalidate") == 0;
	return true;
}
