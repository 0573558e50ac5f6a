/*
 * The near cache's protocol with one key and one entry, for spin.
 *
 * The state of the data is a number that each commit moves forward; it is also
 * its version. A result is the number that it was made from. Committed changes
 * are coalesced by a worker, which sends what the version is by then; now and
 * then it can only say that anything may have changed (a reset). The connection
 * of the listener may break, and what is sent meanwhile is gone.
 *
 * (Variables are set to 0 after their last use, which keeps the states few.)
 *
 * Whenever everything has come to rest, the cache must hold the newest result
 * or none. Each of these, defined, takes away one step of the protocol, and
 * then that is no longer so:
 *
 *	QUERY_FIRST		run the query first, read the version afterwards
 *	NO_REFUSAL		store an entry although a higher version was heard
 *	NO_GENERATION	store an entry although a reset came in meanwhile
 *	ASK_FIRST		after a lost connection, ask what changed, then LISTEN
 *	POSITION_LAST	ask what changed, then where we are
 *	EARLY_KEY		tell the worker before the change is visible
 *	EARLY_SNAPSHOT	the worker takes its snapshot, then the keys
 */
#define WRITES	2
#define FILLS	1
#define CUTS	1
#define BEATS	1		/* catch-ups on an intact connection */
#define RESET	0

/* The server. */
byte version = 1;
bool changed, overflown;	/* what the worker is told */
bool listening;				/* the server sends to the cache */
chan sent = [WRITES + 1] of { byte };
byte writing = WRITES;
bool working;

/* The cache. */
bool serving;				/* connected and caught up */
byte heard;					/* highest version delivered; 0: forgotten */
byte generation;			/* moves when that is forgotten */
byte position;				/* changes before it need not be asked for */
bool held;					/* an entry ... */
byte entry_version, result;	/* ... of this version, made from this state */

inline tell_worker()
{
	if
	:: changed = true
	:: overflown = true
	fi
}

active proctype writer()
{
	do
	:: writing > 0 ->
#ifdef EARLY_KEY
		tell_worker();
		atomic { version++; writing-- }
#else
		version++;
		atomic { tell_worker(); writing-- }
#endif
	:: else -> break
	od
}

active proctype worker()
{
	byte now;
	bool reset;

end:
	do
	:: atomic { changed || overflown -> working = true };
#ifdef EARLY_SNAPSHOT
		now = version;
#endif
		atomic { reset = overflown; changed = false; overflown = false };
#ifndef EARLY_SNAPSHOT
		now = version;
#endif
		atomic {
			if
			:: listening && reset -> sent ! RESET
			:: listening && !reset -> sent ! now
			:: else
			fi;
			working = false;
			now = 0;
			reset = false
		}
	od
}

inline drop()
{
	held = false;
	entry_version = 0;
	result = 0
}

inline forget()
{
	drop();
	heard = 0;
	generation++
}

inline hear(what)
{
	if
	:: what > heard -> heard = what
	:: else
	fi;
	if
	:: held && entry_version < what -> drop()
	:: else
	fi
}

/* changes_since(position), and the next position. */
inline catch_up()
{
#ifndef POSITION_LAST
	next = version;
#endif
	now = version;
	atomic {
		if
		:: position == 0 -> forget()
		:: position > 0 && now > position -> hear(now)
		:: else
		fi
	};
#ifdef POSITION_LAST
	next = version;
#endif
	atomic { position = next; now = 0; next = 0 }
}

active proctype listener()
{
	byte what, now, next;
	byte cuts = CUTS, beats = BEATS;

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
			sent ? what;
			if
			:: what == RESET -> forget()
			:: else -> hear(what)
			fi;
			what = 0
		}
	:: serving && beats > 0 ->
		beats--;
		catch_up()
	:: serving && cuts > 0 ->
		atomic {
			cuts--;
			serving = false;
			listening = false;
			do
			:: sent ? _
			:: empty(sent) -> break
			od
		}
	od
}

active [FILLS] proctype filler()
{
	byte began, asked, loaded;

	began = generation;
#ifdef QUERY_FIRST
	loaded = version;
	asked = version;
#else
	asked = version;
	loaded = version;
#endif
	atomic {
		if
#ifndef NO_GENERATION
		:: began != generation
#endif
#ifndef NO_REFUSAL
		:: asked < heard
#endif
		:: else -> held = true; entry_version = asked; result = loaded
		fi;
		began = 0;
		asked = 0;
		loaded = 0
	}
}

#define AT_REST (writing == 0 && !changed && !overflown && !working && empty(sent) && serving)

active proctype observer()
{
end:
	do
	/* At any time: nothing is served that is older than what was heard. */
	:: atomic { serving && held && result < heard -> assert(false) }
	:: atomic { AT_REST && held && result != version -> assert(false) }
	od
}
