"""Redis, relays and a network between them, which tests may kill, empty and cut."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import redis
from conftest import until

import cache_notify

HEARTBEAT = 0.2
LEASE = 3.0

PROGRAM = [sys.executable, "-m", "cache_notify._cli"]


def node_of(url, **options):
    options = {"heartbeat": HEARTBEAT, "lease": LEASE, **options}
    return cache_notify.Cache(url, **options)


class RedisServer:
    """A Redis without persistence, unless it is asked to save."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.socket = self.folder / "redis.socket"
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis.from_url(self.url)
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "",
             "--dir", self.folder],
            stdout=subprocess.DEVNULL)
        assert until(self.answers)

    def answers(self):
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart_with_memory_of_now(self, then):
        """What happens in then() is forgotten again, as in a failover of Redis."""
        self.client.save()
        memory = (self.folder / "dump.rdb").read_bytes()
        then()
        self.kill()
        (self.folder / "dump.rdb").write_bytes(memory)
        self.start()


class Relay:
    """cache-notify relay, as a process."""

    def __init__(self, dsn, url, *flags):
        environment = dict(os.environ, CACHE_NOTIFY_LISTEN=dsn, CACHE_NOTIFY_REDIS=url)
        self.process = subprocess.Popen(
            [*PROGRAM, "relay", "--heartbeat", "0.1", "--lease", "1", *flags],
            env=environment, stderr=subprocess.PIPE, text=True)
        self.said = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))

    def has_said(self, text):
        return any(text in line for line in self.said)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(20)
        self._reader.join(20)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Wire:
    """A network between a program and a server: it can swallow everything, so that
    nobody gets an error, and go on later with what it has swallowed, or break."""

    def __init__(self, folder, server):
        self.server = str(server)
        self.path = f"{folder}/wire.socket"
        self.url = f"unix://{self.path}"
        self._flows = threading.Event()
        self._flows.set()
        self._sockets = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(self.server)
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._flows.wait()
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self._flows.clear()

    def mend(self):
        self._flows.set()

    def close(self):
        self._listener.close()
        self._flows.set()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
