"""Ways to measure one run of one variant."""

import contextlib
import dataclasses
import glob
import os
import re
import statistics
import subprocess
import tempfile
import time

from beside import CHANNEL, client
from model import Run
from server import BenchError, run


def throughput(server, database, scenario, length, seed):
    """Transactions per second."""
    output = pgbench(server, database, scenario, length, seed)
    return Run(number(r"^tps = ([0-9.]+) \(without", output), transactions(output))


def statement_time(server, database, scenario, length, seed):
    """The median time of one execution, as the client sees it, in milliseconds."""
    with tempfile.TemporaryDirectory(dir=server.directory) as directory:
        prefix = os.path.join(directory, "log")
        output = pgbench(
            server, database, scenario, length, seed, ["--log", f"--log-prefix={prefix}"]
        )
        times = []
        for path in glob.glob(prefix + "*"):
            with open(path) as file:
                times += [int(line.split()[2]) / 1000 for line in file]
    return Run(statistics.median(times), transactions(output))


def psql_times(server, database, text, before=""):
    """Milliseconds that each statement of the text took in one session, as psql sees it.
    before: what is not timed."""
    output = server.sql(before + "\\timing on\n" + text, database)
    return [float(t) for t in re.findall(r"^Time: ([0-9.]+) ms", output, re.MULTILINE)]


def reading_time(sql, times=20):
    """Throughput, and then how long a query takes, in milliseconds: the median."""

    def measure(server, database, scenario, length, seed):
        measured = throughput(server, database, scenario, length, seed)
        taken = psql_times(server, database, sql * times)
        return dataclasses.replace(measured, more={"read_ms": statistics.median(taken)})

    return measure


def instructions(warm_up, rows=1):
    """Instructions that the client's backend executes in user mode per execution of
    the script, or per row of it, when it is warm: what a longer session takes more
    than a shorter one."""

    def measure(server, database, scenario, length, seed):
        short = instructions_of_session(server, database, scenario, warm_up)
        long = instructions_of_session(server, database, scenario, warm_up + length.transactions)
        cost = (long - short) / length.transactions / rows
        return Run(cost, 2 * warm_up + length.transactions)

    return measure


def first_commit(unwatched, sessions=5):
    """Instructions that a new connection's backend executes because the one
    statement of its life, the script, changes a watched table: what such a session
    takes more than one that executes `unwatched`, the least of several. What the
    latter takes is `session`."""

    def measure(server, database, scenario, length, seed):
        other = dataclasses.replace(scenario, script=unwatched)
        ours, theirs = (
            min(instructions_of_session(server, database, s, 1) for _ in range(sessions))
            for s in (scenario, other)
        )
        return Run(ours - theirs, sessions, more={"session": theirs})

    return measure


def instructions_of_session(server, database, scenario, times, patience_s=60):
    pid = run([server.client, "repeat", database, str(times), scenario.script],
              server.environment).strip()
    path = server.callgrind_file(pid)
    deadline = time.monotonic() + patience_s
    # It is written while the backend ends; the total comes last.
    while time.monotonic() < deadline:
        if os.path.exists(path):
            with open(path) as file:
                total = re.search(r"^totals: ([0-9]+)", file.read(), re.MULTILINE)
            if total:
                os.remove(path)
                return int(total[1])
        time.sleep(0.1)
    raise BenchError(f"callgrind does not report on process {pid}:\n{server.log_tail()}")


def probed(probe):
    """What a probe says: how long its statement took, and how much later it was heard of,
    in milliseconds."""
    for line in probe.stdout:
        write, late = line.split()
        yield int(write) / 1000, int(late) / 1000


def time_to_listener(statement, mark, pause_us):
    """A way to measure the time from commit to listener, in milliseconds: a writer
    of its own executes `statement` beside the load, and waits for the notification
    that has `mark` in it. Counted from when COMMIT has returned; `write_*` is how
    long the statement took with its commit, which is where a lane that makes
    commits wait pays, and `total_*` both together."""

    def measure(server, database, scenario, length, seed):
        # Let the worker start, and the load get going.
        with load(server, database, scenario, length, seed) as running:
            with client(server, "probe", database, CHANNEL, length.seconds - 0.5,
                        pause_us, statement, mark) as probe:
                pairs = list(probed(probe))
            output = running.finish() if running else None
        if not pairs:
            raise BenchError(f"no notification was heard in {scenario.name}")
        writes = sorted(write for write, _ in pairs)
        heard = sorted(late for _, late in pairs)
        both = sorted(write + late for write, late in pairs)
        more = {f"p{p}": percentile(heard, p) for p in PERCENTILES}
        more |= {f"write_p{p}": percentile(writes, p) for p in PERCENTILES}
        more |= {f"total_p{p}": percentile(both, p) for p in PERCENTILES}
        more |= {"highest": heard[-1], "samples": len(heard)}
        if output:
            more["load_tps"] = number(r"^tps = ([0-9.]+) \(without", output)
        return Run(more["p50"], transactions(output) if output else 0, more=more)

    return measure


PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class Load:
    """pgbench, running the scenario's script in the background."""

    def __init__(self, server, database, scenario, length, seed):
        self.process = subprocess.Popen(
            pgbench_command(server, database, scenario, length, seed),
            env=server.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.process.stdin.write(scenario.script)
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self):
        """Wait for its end; what it reports."""
        output, errors = self.process.communicate()
        if self.process.returncode != 0:
            raise BenchError(f"pgbench failed:\n{errors}")
        return output


@contextlib.contextmanager
def load(server, database, scenario, length, seed):
    """The scenario's clients in the background; None if it has none."""
    if scenario.clients == 0:
        yield None
        return
    running = Load(server, database, scenario, length, seed)
    try:
        time.sleep(0.3)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def pgbench_command(server, database, scenario, length, seed, options=()):
    command = [server.program("pgbench"), "-n", "-M", "prepared", "-j", "2"]
    command += ["-c", str(scenario.clients), "--random-seed", str(seed), "-f", "-"]
    return command + [*length.pgbench_options(), *options, database]


def pgbench(server, database, scenario, length, seed, options=()):
    """Run the scenario's script; what pgbench reports."""
    command = pgbench_command(server, database, scenario, length, seed, options)
    try:
        output = run(command, server.environment, input=scenario.script)
    except BenchError as error:
        raise BenchError(f"{error}\n\nthe server's log:\n{server.log_tail()}") from error
    failed = re.search(r"^number of failed transactions: ([0-9]+)", output, re.MULTILINE)
    if failed and failed[1] != "0":
        raise BenchError(f"{failed[1]} transactions failed in {scenario.name}")
    return output


def number(pattern, output):
    found = re.search(pattern, output, re.MULTILINE)
    if not found:
        raise BenchError(f"pgbench does not report {pattern}:\n{output}")
    return float(found[1])


def transactions(output):
    return int(number(r"^number of transactions actually processed: ([0-9]+)", output))
