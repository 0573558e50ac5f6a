"""Faults that the checker injects."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

from truth import Cell
from writer import table_of

# What schema.sql has of the extension.
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "watch.sql")) as file:
    SET_UP = file.read()

LISTENER = "application_name LIKE '%%listener%%'"


class Faults:
    def __init__(self, cluster, truth, seed, names, relays=None):
        self.new_side_stale = 0
        self.cluster = cluster
        self.relays = relays
        self.truth = truth
        self.random = random.Random(f"{seed}-faults")
        self.names = names
        self.count = Counter()
        self.stopped = set()    # processes that say nothing for a while

    def inject(self):
        if self.names:
            name = self.random.choice(self.names)
            if name not in ("silence", "listener", "writer", "worker"):
                for pid in list(self.stopped):
                    self.go_on(pid)     # or the server cannot stop
            if {**FAULTS, **RELAY_FAULTS, **NETWORK_FAULTS}[name](self):
                self.count[name] += 1

    def backend(self, condition):
        """The process id of a backend, any of those it applies to, or None."""
        pids = self.cluster.primary.execute(
            f"SELECT pid FROM pg_stat_activity WHERE {condition} ORDER BY pid")
        return self.random.choice(pids)[0] if pids else None

    def terminate(self, condition):
        pid = self.backend(condition)
        if pid:
            self.cluster.primary.execute("SELECT pg_terminate_backend(%s)", pid)
        return pid

    def listener(self):
        return self.terminate(LISTENER)

    def silence(self):
        """A listener's server process says nothing for longer than a lease, as if the
        network swallowed everything."""
        pid = self.backend(LISTENER)
        if pid:
            os.kill(pid, signal.SIGSTOP)
            timer = threading.Timer(3, self.go_on, [pid])
            timer.daemon = True
            timer.start()
            self.stopped.add(pid)
        return pid

    def go_on(self, pid):
        self.stopped.discard(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def writer(self):
        return self.terminate("application_name = 'writer'")

    def worker(self):
        return self.terminate("backend_type LIKE 'cache_notify%%'")

    def kill(self):
        """A backend dies hard; the server restarts by itself."""
        pid = self.backend("application_name = 'writer' OR backend_type LIKE 'cache_notify%%'")
        if pid:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
            self.cluster.wait_until_up()
        return pid

    def immediate(self):
        self.cluster.restart("immediate")
        return True

    def failover(self):
        """The standby takes over without the last commits."""
        self.fail_over()
        self.cluster.add_standby()
        return True

    def fail_over(self):
        truth, cluster = self.truth, self.cluster
        if self.relays:
            # Nodes that no relay can tell serve until their lease ends.
            self.relays.wait_until_proved()
        cluster.cut_off_standby()
        time.sleep(self.random.uniform(0.1, 0.5))
        truth.pause.value = True
        while not all(truth.paused):
            time.sleep(0.01)
        truth.history.value += 1
        cluster.fail_over()
        # Prepared there, and how it ended was lost: it comes to nothing.
        for gid, in cluster.primary.execute("SELECT gid FROM pg_prepared_xacts"):
            cluster.primary.execute(f"ROLLBACK PREPARED '{gid}'")
        truth.take_back([n for _, n in cluster.primary.execute(
            "SELECT cell, n FROM item UNION ALL SELECT cell, n FROM price"
            " UNION ALL SELECT cell, n FROM setting ORDER BY cell")])
        truth.history.value += 1
        truth.pause.value = False

    @contextlib.contextmanager
    def writers_paused(self):
        """Until every reader has heard of what happens meanwhile, and for a moment longer: what
        a cache should have dropped then is not dropped by the next change."""
        self.truth.pause.value = True
        try:
            while not all(self.truth.paused):
                time.sleep(0.01)
            yield
            fence = self.truth.fences.value
            until = time.monotonic() + 3
            while not self.truth.heard_since(fence) and time.monotonic() < until:
                self.cluster.meanwhile()
                time.sleep(0.05)
            time.sleep(0.2)
        finally:
            self.truth.pause.value = False

    def switch_over(self):
        """Logical replication to a new server, and everybody goes there."""
        cluster = self.cluster
        new = cluster.replicate()
        # As a failover there would: the versions of the old side are above those of the new one.
        cluster.primary.execute("SELECT cache_notify.new_history()")
        self.cache_on(new)
        cluster.meanwhile()
        if cluster.omitted == "leaves_early":
            cluster.leave_early(new)
        with self.writers_paused():
            cluster.switch_over(new)
        return True

    def cache_on(self, new):
        """Somebody has a cache on the new side already, while its rows come in."""
        held = {}
        until = time.monotonic() + 0.3
        with new.connect() as connection:
            while time.monotonic() < until:
                for number in self.truth.busy_with:
                    tenant = f"tenant {number}"
                    token, rows = held.get(tenant, (None, None))
                    now, current, rows_now = connection.execute(
                        "SELECT cache_notify.token(%(tenant)s, 'item'), cache_notify.is_current(%(token)s),"
                        " array(SELECT n FROM item WHERE tenant_id = %(tenant)s ORDER BY cell)",
                        {"tenant": tenant, "token": token}).fetchone()
                    if current and rows != rows_now:
                        self.new_side_stale += 1
                    elif not current:
                        held[tenant] = now, rows_now

    def recreate(self):
        """The extension is dropped and created once more, at once or after a while, and in
        between rows change. Writers wait meanwhile: one that writes several tables could meet
        the DROP half-way, and fail."""
        cells = self.random.sample(range(Cell.COUNT), 60)
        at_once = self.random.random() < 0.5
        with self.writers_paused():
            self.truth.write_for(cells, lambda written: self.create_anew(written, at_once))
        return True

    def create_anew(self, written, at_once):
        with self.cluster.primary.connect() as connection:
            connection.autocommit = False
            connection.execute("SET client_min_messages = error")
            connection.execute("SET lock_timeout = '10s'")
            connection.execute("DROP EXTENSION cache_notify CASCADE")
            if self.cluster.omitted == "forgets_origin":
                connection.execute("ALTER DATABASE postgres RESET cache_notify.former_origin")
            if not at_once:
                connection.commit()
            for cell, number in written.items():
                connection.execute(f"UPDATE {table_of(cell)} SET n = %s WHERE cell = %s", [number, cell])
            if not at_once:
                connection.commit()
                time.sleep(0.2)
            connection.execute("CREATE EXTENSION cache_notify")
            connection.execute(SET_UP)

    # ------------------------------------------------------------- with --relay

    def relay(self):
        """The relay that leads is killed; the other one takes over."""
        self.relays.kill(self.relays.leader())
        return True

    def relays_both(self):
        self.relays.kill_both()
        return True

    def relay_paused(self):
        """Until the other one leads; then it goes on."""
        self.relays.pause(self.relays.leader(), 1.5)
        return True

    def redis(self):
        """It comes back empty."""
        self.relays.kill_redis()
        return True

    def redis_emptied(self):
        self.relays.client.flushall()
        return True

    def redis_forgets(self):
        self.relays.forget()
        return True

    def network_relays(self):
        self.relays.cut("relays", self.random.uniform(0.2, 3))
        return True

    def network_readers(self):
        self.relays.cut("readers", self.random.uniform(0.2, 3))
        return True

    def frames(self):
        self.relays.lose_frames()
        return True


FAULTS = {"listener": Faults.listener, "silence": Faults.silence, "writer": Faults.writer, "worker": Faults.worker,
          "kill": Faults.kill, "immediate": Faults.immediate, "failover": Faults.failover,
          "recreate": Faults.recreate, "switch_over": Faults.switch_over}

RELAY_FAULTS = {"relay": Faults.relay, "relays": Faults.relays_both,
                "relay_paused": Faults.relay_paused, "redis": Faults.redis,
                "redis_emptied": Faults.redis_emptied, "redis_forgets": Faults.redis_forgets,
                "frames": Faults.frames}

NETWORK_FAULTS = {"network_relays": Faults.network_relays,
                  "network_readers": Faults.network_readers}
