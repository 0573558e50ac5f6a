"""Network namespaces: Redis in one, relays in another, and wires between these and the
readers that can be cut. Nobody is told that they are; packets just do not come.

Needs to be run by `unshare --map-current-user --keep-caps --net` (check --network does)."""

import os
import subprocess

REDIS = {"readers": "10.77.1.2", "relays": "10.77.2.2"}


def inside():
    """The command that puts a program into namespaces of its own, with the right to make
    more; as the same user, since PostgreSQL does not run as root."""
    return ["unshare", "--map-current-user", "--keep-caps", "--net"]


class Network:
    def __init__(self):
        self.holders = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
                        for _ in range(2)]
        redis, relays = self.redis, self.relays = [holder.pid for holder in self.holders]
        own = os.readlink("/proc/self/ns/net")
        while own in (os.readlink(f"/proc/{pid}/ns/net") for pid in (redis, relays)):
            pass    # they are just being made
        self._ip(None, "link set lo up")
        self._ip(redis, "link set lo up")
        for number, (wire, end) in enumerate((("readers", None), ("relays", relays)), 1):
            self._ip(redis, f"link add {wire} type veth peer name redis netns {end or os.getpid()}")
            for where, name, last in ((redis, wire, 2), (end, "redis", 1)):
                self._ip(where, f"address add 10.77.{number}.{last}/24 dev {name}")
                self._ip(where, f"link set {name} up")

    @staticmethod
    def within(pid):
        return ["nsenter", "--target", str(pid), "--net"] if pid else []

    def _ip(self, pid, what):
        subprocess.run([*self.within(pid), "/sbin/ip", *what.split()], check=True)

    def cut(self, wire):
        self._ip(self.redis, f"link set {wire} down")

    def mend(self, wire):
        self._ip(self.redis, f"link set {wire} up")

    def stop(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()
