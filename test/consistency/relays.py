"""Redis and two relays between the server and the readers, which the checker may kill."""

import os
import signal
import subprocess
import sys
import time

import redis

from network import REDIS

PACKAGE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../clients/python/src"))


class Relays:
    def __init__(self, directory, conninfo, network=None, hurried=True):
        # Takes over within a second; else as by default.
        self.flags = ["--heartbeat", "0.1", "--lease", "1"] if hurried else []
        self.conninfo = conninfo
        self.directory = directory
        self.socket = os.path.join(directory, "redis.socket")
        self.memory = os.path.join(directory, "dump.rdb")
        self.network = network
        self.url = self.relays_url = f"unix://{self.socket}"
        if network:
            self.url, self.relays_url = (f"redis://{REDIS[wire]}" for wire in ("readers", "relays"))
        self.client = redis.Redis.from_url(f"unix://{self.socket}")
        self.log = open(os.path.join(directory, "relays.log"), "ab")
        self.redis = None
        self.start_redis()
        self.relays = [self.start_relay(), self.start_relay()]
        self.wait_until_proved()

    def start_redis(self):
        self.redis = subprocess.Popen(
            [*self._within("redis"), "redis-server", "--port", "6379" if self.network else "0",
             "--bind", "0.0.0.0", "--protected-mode", "no", "--unixsocket", self.socket, "--save", "",
             "--dir", self.directory], stdout=subprocess.DEVNULL)
        self._wait(self._redis_answers)

    def start_relay(self):
        environment = dict(os.environ, PYTHONPATH=PACKAGE, CACHE_NOTIFY_LISTEN=self.conninfo,
                           CACHE_NOTIFY_REDIS=self.relays_url, PYTHONDONTWRITEBYTECODE="1")
        # Not from a folder where the library lies, which Python would take for the package.
        return subprocess.Popen(
            [*self._within("relays"), sys.executable, "-m", "cache_notify._cli", "relay",
             *self.flags], env=environment, stderr=self.log, cwd=self.directory)

    def _within(self, place):
        return self.network.within(getattr(self.network, place)) if self.network else []

    @staticmethod
    def _wait(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise SystemExit("the relays do not come back")
            time.sleep(0.02)

    def _redis_answers(self):
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def wait_until_proved(self):
        """Until a beat is over that begins from now on."""
        def beat(field):
            try:
                return self.client.hmget("cache_notify:relay", "epoch", field)
            except redis.ConnectionError:
                return None, None

        before = beat("started")

        def proved():
            epoch, now = beat("beat")
            return now is not None and int(now) > 0 and (
                before[1] is None or epoch != before[0] or int(now) > int(before[1]))

        self._wait(proved)

    def leader(self):
        """Which one leads, if that can be told."""
        pid = self.client.get("cache_notify:leader")
        return next((number for number, relay in enumerate(self.relays)
                     if pid and pid.endswith(b":%d" % relay.pid)), 0)

    def end(self, number):
        self.relays[number].kill()
        self.relays[number].wait()

    def kill(self, number):
        self.end(number)
        self.relays[number] = self.start_relay()

    def start_missing(self):
        for number, relay in enumerate(self.relays):
            if relay.poll() is not None:
                self.relays[number] = self.start_relay()

    def kill_both(self):
        for relay in self.relays:
            relay.kill()
        for number in range(2):
            self.kill(number)

    def pause(self, number, seconds):
        self.relays[number].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.relays[number].send_signal(signal.SIGCONT)

    def kill_redis(self, seconds=0.0, remembers=False):
        """It comes back after so many seconds, empty or with what it knows now."""
        if remembers:
            self.client.save()
        self.redis.kill()
        self.redis.wait()
        time.sleep(seconds)
        self.start_redis()
        if remembers:
            os.unlink(self.memory)

    def forget(self):
        """Redis goes back to what it knew some time ago."""
        self.client.save()
        with open(self.memory, "rb") as file:
            saved = file.read()
        time.sleep(0.3)
        self.redis.kill()
        self.redis.wait()
        with open(self.memory, "wb") as file:
            file.write(saved)
        self.start_redis()
        os.unlink(self.memory)

    def cut(self, wire, seconds):
        """No packets between Redis and the relays, or the readers."""
        self.network.cut(wire)
        time.sleep(seconds)
        self.network.mend(wire)

    def lose_frames(self):
        """Who listens to the relay is cut off, and listens again."""
        self.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def stop(self):
        for process in (*self.relays, self.redis):
            process.kill()
            process.wait()
        self.log.close()
        if self.network:
            self.network.stop()
