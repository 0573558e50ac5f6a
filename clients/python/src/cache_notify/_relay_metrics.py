"""What a relay did, in the text format of Prometheus, over HTTP."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ._errors import ConfigurationError

log = logging.getLogger("cache_notify.relay")

HELP = {
    "beats": "proofs of life that were published",
    "elections": "times that this relay began to lead",
    "epochs": "numberings of frames begun anew, each of which is a reset for all nodes",
    "frames": "frames published",
    "listener_failures": "times that listening, publishing or leading failed",
    "payloads": "changes handed on",
    "purges": "tags told to HTTP caches",
    "purge_failures": "tags that an HTTP cache could not be told",
    "resets": "times that nodes were told to drop everything",
}


class RelayMetrics:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gauges = {"leading": 0, "standing_by": 0, "nodes": 0}
        self.lease_ends = 0.0  # until when deliveries count as coming in

    def count(self, event: str, reason: str = "", n: int = 1) -> None:
        with self._lock:
            self._counts[event, reason] += n

    def set(self, gauge: str, value: int) -> None:
        with self._lock:
            self._gauges[gauge] = value

    def get(self, name: str) -> int:
        """A gauge, or a counter over all reasons."""
        with self._lock:
            if name in self._gauges:
                return self._gauges[name]
            return sum(n for (event, _), n in self._counts.items() if event == name)

    @property
    def listening(self) -> bool:
        return time.monotonic() < self.lease_ends

    @property
    def healthy(self) -> bool:
        """Does its work, or stands by for the one that does."""
        return self.listening or self.get("standing_by") == 1

    def prometheus(self) -> str:
        with self._lock:
            counts, gauges = sorted(self._counts.items()), dict(self._gauges)
        gauges["listening"] = int(self.listening)
        lines: list[str] = []
        for gauge, value in gauges.items():
            lines += [f"# TYPE cache_notify_relay_{gauge} gauge",
                      f"cache_notify_relay_{gauge} {value}"]
        last = None
        for (event, reason), n in counts:
            name = f"cache_notify_relay_{event}_total"
            if event != last:
                lines += [f"# HELP {name} {HELP.get(event, event)}", f"# TYPE {name} counter"]
                last = event
            lines.append(name + (f'{{reason="{reason}"}}' if reason else "") + f" {n}")
        return "\n".join(lines) + "\n"


def serve(metrics: RelayMetrics, address: str) -> ThreadingHTTPServer:
    """Answers /metrics and /health at HOST:PORT, in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics.prometheus(), "text/plain; version=0.0.4")
            elif self.path == "/health":
                well = metrics.healthy
                self._answer(200 if well else 503, "ok\n" if well else "not listening\n",
                             "text/plain")
            else:
                self._answer(404, "/metrics or /health\n", "text/plain")

        def _answer(self, status: int, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    host, _, port = address.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]") or "127.0.0.1", int(port)), Handler)
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"cannot serve metrics at {address!r}: {error}") from error
    threading.Thread(target=server.serve_forever, name="cache_notify metrics",
                     daemon=True).start()
    return server
