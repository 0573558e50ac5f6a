"""What clients wait for under full load, and how often they are taken off the processor:
the scenario `hot128_waits`."""

import contextlib
import dataclasses
import time

from measure import Load, number, transactions
from model import Length, Ratio, Run
from server import BenchError

# As pg_stat_activity calls them. All others are in "other", which says that one is missing.
EVENTS = (
    "running", "Client:ClientRead", "LWLock:WALWrite", "LWLock:WALInsert", "IO:WALSync",
    "IO:WALWrite", "LWLock:BufferContent", "LWLock:ProcArray", "LWLock:XactSLRU",
    "LWLock:LockManager", "IPC:ProcArrayGroupUpdate", "IPC:XactGroupUpdate",
    "Lock:transactionid", "Lock:tuple", "LWLock:cache_notify", "Timeout:SpinDelay", "other",
)

SWITCHES = ("voluntary", "involuntary")

# In one session beside the load, fifty times a second. A commit_delay is no wait event:
# who sleeps in it is "running", and the others wait for LWLock:WALWrite.
SAMPLES = """
CREATE TEMP TABLE seen (event text, clients int);
DO $$
DECLARE
	until timestamptz := clock_timestamp() + interval '{seconds} s';
BEGIN
	WHILE clock_timestamp() < until LOOP
		PERFORM pg_stat_clear_snapshot();
		INSERT INTO seen
			SELECT coalesce(wait_event_type || ':' || wait_event, 'running'), count(*)
			FROM pg_stat_activity
			WHERE application_name = 'pgbench' AND state IS NOT NULL
			GROUP BY 1;
		INSERT INTO seen VALUES ('samples', 1);
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT event, sum(clients)::float8 / (SELECT sum(clients) FROM seen WHERE event = 'samples')
FROM seen WHERE event <> 'samples' GROUP BY event;
"""

PROCESSES = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench';"


def waits(server, database, scenario, length, seed):
    """Throughput; how many clients are in each kind of wait on average; and how often a
    transaction gives the processor up by itself, or has it taken away."""
    running = Load(server, database, scenario, length, seed)
    try:
        time.sleep(1)
        pids = server.sql(PROCESSES, database).split()
        before, began = switches(pids), time.monotonic()
        seen = server.sql(SAMPLES.format(seconds=length.seconds - 3), database)
        after, elapsed = switches(pids), time.monotonic() - began
        output = running.finish()
    finally:
        running.process.kill()
        running.process.wait()
    tps = number(r"^tps = ([0-9.]+) \(without", output)
    more = {f"waiting {event}": 0.0 for event in EVENTS}
    for line in seen.splitlines():
        event, clients = line.split("|")
        name = event if event in EVENTS else "other"
        more[f"waiting {name}"] += float(clients)
    for kind, count in zip(SWITCHES, (a - b for a, b in zip(after, before))):
        more[f"{kind} switches"] = count / elapsed / tps
    return Run(tps, transactions(output), more=more)


def switches(pids):
    """Voluntary and involuntary context switches of these processes so far."""
    found = [0, 0]
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name == "voluntary_ctxt_switches":
                    found[0] += int(value)
                elif name == "nonvoluntary_ctxt_switches":
                    found[1] += int(value)
    if not any(found):
        raise BenchError("there is nobody whose context switches can be counted")
    return found


def with_waits(scenario, name):
    """The scenario, to see what its clients wait for."""
    names = [v.name for v in scenario.variants]
    return dataclasses.replace(
        scenario,
        name=name,
        description=f"{scenario.description}: what they wait for",
        measure=waits,
        ratios=[
            Ratio(f"{name}_{v}: {of}", v, of=of)
            for of in [f"waiting {event}" for event in EVENTS]
            + [f"{kind} switches" for kind in SWITCHES]
            for v in names
        ],
        quick=Length(rounds=2, seconds=20),
        full=Length(rounds=2, seconds=20),
        on_request=True,
    )
