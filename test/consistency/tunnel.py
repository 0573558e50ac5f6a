"""A way for clients that know no sockets but those of TCP: the servers of the checker listen
on sockets in their directories only."""

import os
import socket
import threading


class Tunnel:
    """A port that leads to whichever server a host is at the moment."""

    def __init__(self, host):
        self.path = os.path.join(host, ".s.PGSQL.5432")
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            here, _ = self.listening.accept()
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(self.path)
            except OSError:
                here.close()
                continue
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for both in ((here, there), (there, here)):
                threading.Thread(target=self.pump, args=both, daemon=True).start()

    @staticmethod
    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
