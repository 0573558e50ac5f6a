/*-------------------------------------------------------------------------
 *
 * change_set.h
 *	  The change set from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_CHANGE_SET_H
#define CACHE_NOTIFY_CHANGE_SET_H

#include "change/change.h"

/* statement_no.c */
extern int	depth_index(int depth);
extern uint64 current_statement_no(int i);

/* change_set.c */
extern void journal_scope(ScopeChange *scope);
extern bool change_set_admit_bucket(void);
extern List *change_set_scopes(void);
extern ScopeChange *change_set_find(const char *name, const char *tenant);

extern ScopeChange *change_set_reached(const ScopeChange *scope,
									   const CascadeTarget *target);

/* bump.c */
extern void change_set_bump_key(ScopeChange *scope, const VersionName *name);

/* by_hand.c */
extern void by_hand_note(ScopeChange *scope);

/* All of ExtraFields but the keys, which are only added to. */
typedef struct ExtraState
{
	bool		wanted;
	bool		events_incomplete;
	bool		all_keys;
	uint8		operations;
	uint16		keys_len;
} ExtraState;

/* extra_fields.c: for savepoints */
extern ExtraState extra_state(const ExtraFields *extra);
extern void extra_go_back(ExtraFields *extra, const ExtraState *state);

#endif							/* CACHE_NOTIFY_CHANGE_SET_H */
