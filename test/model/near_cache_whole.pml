/*
 * The near cache's protocol for a result over all tenants, for spin: one entry,
 * two tenants.
 *
 * The state of a tenant's data is a number that each commit moves forward, its
 * version. A result is made from both. Payloads tell the version of one tenant,
 * which cannot be compared with that of the whole domain; so each payload that is
 * news drops the entry, and refuses the fill that is under way. Coalescing, resets
 * and a broken connection are as in near_cache.pml.
 *
 * Whenever everything has come to rest, the cache must hold the newest result or
 * none. Each of these, defined, takes away one step of the protocol, and then that
 * is no longer so:
 *
 *	NO_DROP			keep the entry when a payload comes in
 *	NO_REFUSAL		store an entry although a payload came in meanwhile
 *	LATE_COUNT		look how many came in after the query, not before
 *	ONE_TENANT		count only what the first tenant's payloads say
 *	NO_GENERATION	store an entry although a reset came in meanwhile
 *	ASK_FIRST		after a lost connection, ask what changed, then LISTEN
 *	POSITION_LAST	ask what changed, then where we are
 */
#define WRITES	2
#define CUTS	1
#define RESET	2

/* The server. */
byte version[2];
bool changed[2], overflown;	/* what the worker is told */
bool listening;				/* the server sends to the cache */
chan sent = [WRITES + 2] of { byte, byte };	/* tenant or RESET, version */
byte writing = WRITES;
bool working;

/* The cache. */
bool serving;				/* connected and caught up */
byte heard[2];				/* highest versions delivered */
byte told;					/* how many payloads were news */
byte generation;			/* moves when these are forgotten */
bool placed;				/* there is a position ... */
byte position[2];			/* changes before it need not be asked for */
bool held;					/* an entry, made from ... */
byte result[2];				/* ... this state */

active proctype writer()
{
	byte tenant;

	do
	:: writing > 0 ->
		if
		:: tenant = 0
		:: tenant = 1
		fi;
		version[tenant]++;
		atomic {
			if
			:: changed[tenant] = true
			:: overflown = true
			fi;
			tenant = 0;
			writing--
		}
	:: else -> break
	od
}

active proctype worker()
{
	bool first, second, reset;

end:
	do
	:: atomic { changed[0] || changed[1] || overflown -> working = true };
		atomic {
			first = changed[0]; second = changed[1]; reset = overflown;
			changed[0] = false; changed[1] = false; overflown = false
		};
		atomic {
			if
			:: listening && reset -> sent ! RESET, 0
			:: listening && !reset ->
				if
				:: first -> sent ! 0, version[0]
				:: else
				fi;
				if
				:: second -> sent ! 1, version[1]
				:: else
				fi
			:: else
			fi;
			working = false; first = false; second = false; reset = false
		}
	od
}

inline drop()
{
	held = false;
	result[0] = 0;
	result[1] = 0
}

inline forget()
{
	drop();
	heard[0] = 0;
	heard[1] = 0;
	generation++
}

inline hear(tenant, what)
{
	if
	:: what > heard[tenant] ->
		heard[tenant] = what;
#ifdef ONE_TENANT
		told = told + (1 - tenant);
#else
		told++;
#endif
#ifndef NO_DROP
		drop()
#endif
	:: else
	fi
}

/* changes_since(position), and the next position. */
inline catch_up()
{
#ifndef POSITION_LAST
	atomic { next0 = version[0]; next1 = version[1] };
#endif
	atomic {
		now0 = version[0];
		now1 = version[1]
	};
	atomic {
		if
		:: !placed -> forget()
		:: placed ->
			if
			:: now0 > position[0] -> hear(0, now0)
			:: else
			fi;
			if
			:: now1 > position[1] -> hear(1, now1)
			:: else
			fi
		fi
	};
#ifdef POSITION_LAST
	atomic { next0 = version[0]; next1 = version[1] };
#endif
	atomic {
		placed = true;
		position[0] = next0; position[1] = next1;
		now0 = 0; now1 = 0; next0 = 0; next1 = 0
	}
}

active proctype listener()
{
	byte tenant, what, now0, now1, next0, next1;
	byte cuts = CUTS;

end:
	do
	:: !serving ->
#ifdef ASK_FIRST
		catch_up();
		listening = true;
#else
		listening = true;
		catch_up();
#endif
		serving = true
	:: serving && nempty(sent) ->
		atomic {
			sent ? tenant, what;
			if
			:: tenant == RESET -> forget()
			:: tenant == 0 -> hear(0, what)
			:: tenant == 1 -> hear(1, what)
			fi;
			tenant = 0;
			what = 0
		}
	:: serving && cuts > 0 ->
		atomic {
			cuts--;
			serving = false;
			listening = false;
			do
			:: sent ? _, _
			:: empty(sent) -> break
			od
		}
	od
}

active proctype filler()
{
	byte began, times, loaded0, loaded1;

	atomic {
		began = generation;
#ifndef LATE_COUNT
		times = told
#endif
	};
	atomic { loaded0 = version[0]; loaded1 = version[1] };
#ifdef LATE_COUNT
	times = told;
#endif
	atomic {
		if
#ifndef NO_GENERATION
		:: began != generation
#endif
#ifndef NO_REFUSAL
		:: times != told
#endif
		:: else -> held = true; result[0] = loaded0; result[1] = loaded1
		fi;
		began = 0; times = 0; loaded0 = 0; loaded1 = 0
	}
}

#define AT_REST (writing == 0 && !changed[0] && !changed[1] && !overflown && !working && empty(sent) && serving)
#define OLDER_THAN_HEARD (result[0] < heard[0] || result[1] < heard[1])
#define OLD (result[0] != version[0] || result[1] != version[1])

active proctype observer()
{
end:
	do
	/* At any time: nothing is served that is older than what was heard. */
	:: atomic { serving && held && OLDER_THAN_HEARD -> assert(false) }
	:: atomic { AT_REST && held && OLD -> assert(false) }
	od
}
