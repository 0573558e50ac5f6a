"""How long it takes, under load, until nodes behind relays are as they were before something
died: until each serves from memory, and has heard of a change that was made after the repair.
Where something takes over by itself, the fault counts as the repair.

The nodes and the relays have the settings that they have by default; the judgement of what
is served is that of the other runs.
"""

import contextlib
import threading
import time
from multiprocessing.sharedctypes import RawArray

import psycopg

# Seconds for which things stay dead or cut: longer than the leases, so that all stop to serve.
OUTAGE = 7.0

# Seconds for which all must be well, so that no lease is left from before.
STEADY = 6.0

TICK = 0.005
FENCES_EVERY = 0.05


class Pulse:
    """What the readers' processes tell of themselves, by their numbers."""

    def __init__(self, readers):
        self.readers = range(readers)
        # When the newest change was made of which it has heard.
        self.heard = RawArray("d", readers)
        # Without a lease: since the fault (0: not at all), and for the last time.
        self.silent_from = RawArray("d", readers)
        self.silent_until = RawArray("d", readers)
        # Its first hit since then.
        self.serves_since = RawArray("d", readers)

    def follow(self, number, core, stop):
        """A thread of a reader."""
        serving, hits = False, 0
        while not stop.value:
            now = time.monotonic()
            if not core.listening:
                self.silent_from[number] = self.silent_from[number] or now
                self.silent_until[number] = now
                serving, hits = False, core.hits
            elif not serving and core.hits > hits:
                self.serves_since[number] = now
                serving = True
            time.sleep(TICK)

    def hear(self, number, made_at):
        self.heard[number] = max(self.heard[number], made_at)

    def all_well(self, since):
        return all(self.heard[number] > since
                   and self.serves_since[number] > self.silent_until[number]
                   for number in self.readers)

    def begin(self):
        """All are well, and something is about to die."""
        self.silent_from[:] = [0] * len(self.readers)

    def silence(self):
        """When the first one stopped to serve from memory, and the last one began again; None
        if all went on."""
        silent = [number for number in self.readers if self.silent_from[number]]
        if not silent:
            return None
        return (min(self.silent_from[number] for number in silent),
                max(self.serves_since[number] for number in silent))


# --------------------------------------------- faults: when they came, when they were mended

def relay(run):
    """The relay that leads is killed, and the other one takes over."""
    run.relays.end(run.relays.leader())
    at = time.monotonic()
    return at, at


def relays(run):
    for number in range(2):
        run.relays.end(number)
    at = time.monotonic()
    time.sleep(OUTAGE)
    run.relays.start_missing()
    return at, time.monotonic()


def redis(run):
    """It comes back with what it knew."""
    at = time.monotonic()
    run.relays.kill_redis(OUTAGE, remembers=True)
    return at, time.monotonic()


def redis_empty(run):
    at = time.monotonic()
    run.relays.kill_redis()
    return at, time.monotonic()


def network_relays(run):
    at = time.monotonic()
    run.relays.cut("relays", OUTAGE)
    return at, time.monotonic()


def network_readers(run):
    at = time.monotonic()
    run.relays.cut("readers", OUTAGE)
    return at, time.monotonic()


def restart(run):
    """PostgreSQL, the hard way."""
    at = time.monotonic()
    run.cluster.restart("immediate")
    return at, time.monotonic()


def failover(run):
    """PostgreSQL's primary dies, and the standby is promoted without the last commits."""
    run.faults.fail_over()
    return run.cluster.failed_at, run.cluster.promoted_at


FAULTS = {"relay": relay, "relays": relays, "redis": redis, "redis_empty": redis_empty,
          "restart": restart, "failover": failover}
NETWORK_FAULTS = {"network_relays": network_relays, "network_readers": network_readers}


class Recovery:
    """Brings about the faults one by one, and says what came of each."""

    def __init__(self, run, patience):
        self.run = run
        self.patience = patience
        self.lost = None    # after what it was given up
        self.ended = threading.Event()
        self.companion = threading.Thread(target=self.accompany, daemon=True)

    def accompany(self):
        """Changes are made all the time, and what readers report is taken from them."""
        while not self.ended.wait(FENCES_EVERY):
            self.run.take_reports()
            # There is no server at times, or one that is not promoted yet.
            with contextlib.suppress(psycopg.OperationalError,
                                     psycopg.errors.ReadOnlySqlTransaction):
                self.run.send_fence()

    def measure(self, names, rounds):
        self.companion.start()
        try:
            self.wait("the start", time.monotonic())
            for name in names * rounds:
                self.bring_about(name)
        except NoRecovery as error:
            self.lost = str(error)
            print(f"no recovery within {self.patience:.0f} s after {self.lost}", flush=True)
        finally:
            self.ended.set()
            self.companion.join()

    def bring_about(self, name):
        self.run.pulse.begin()
        at, repaired_at = {**FAULTS, **NETWORK_FAULTS}[name](self.run)
        recovered_at = self.wait(name, repaired_at)
        silence = self.run.pulse.silence()
        print(f"{name}: mended after {repaired_at - at:.2f} s; "
              + ("served from memory all the time" if silence is None else
                 f"no longer served from memory {silence[0] - at:.2f} s after the fault,"
                 f" served again {silence[1] - repaired_at:.2f} s after it was mended")
              + f"; recovered after {recovered_at - repaired_at:.2f} s", flush=True)
        self.run.relays.start_missing()
        if self.run.cluster.standby is None:
            self.run.cluster.add_standby()
        self.wait("a second one was there again", time.monotonic(), steady=0.0)

    def wait(self, after, since, steady=STEADY):
        """Until all nodes are well and stay so; since when they are."""
        well_since, end = None, time.monotonic() + self.patience
        while well_since is None or time.monotonic() < well_since + steady:
            if self.run.any_has_failed():
                raise SystemExit("a process of the checker failed, see above")
            if not self.run.pulse.all_well(since):
                well_since = None
                if time.monotonic() > end:
                    raise NoRecovery(after)
            elif well_since is None:
                well_since = time.monotonic()
            time.sleep(TICK)
        return well_since


class NoRecovery(Exception):
    """After what."""
