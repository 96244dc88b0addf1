"""A fake of Asterisk's manager interface: a real server of the protocol as it is published, errors included.

It was never compared with an exchange; which fields its events carry is from the documentation of Asterisk 11 and 18.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

CHALLENGE = "160138217"


class FakeManager:
    """Logs in one user by secret or by challenge, tells what is under way, and sends what it is given."""

    def __init__(self, user: str, secret: str) -> None:
        self._user, self._secret = user, secret
        self.greeting = b"Asterisk Call Manager/6.0.0\r\n"
        self.answers = True
        self.lists_channels = True
        self.under_way: list[Mapping[str, str]] = []
        self.asked: list[Mapping[str, str]] = []
        self.logins = 0
        self._listening: list[socket.socket] = []
        self._open: list[socket.socket] = []
        self._lock = Lock()
        self._tls: ssl.SSLContext | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Speak TLS from now on."""
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)

    @property
    def listeners(self) -> int:
        """How many connections are logged in and open."""
        with self._lock:
            return len(self._listening)

    def push(self, *events: Mapping[str, str]) -> None:
        """Send events to whoever is logged in."""
        self.push_raw(b"".join(_packet(each) for each in events))

    def push_raw(self, content: bytes, sizes: Sequence[int] = ()) -> None:
        """Send bytes, in pieces of these sizes."""
        with self._lock:
            for each in list(self._listening):
                rest = content
                for size in sizes:
                    each.sendall(rest[:size])
                    rest = rest[size:]
                each.sendall(rest)

    def drop(self) -> None:
        """End all connections."""
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._open, self._listening = [], []

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.drop()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.append(connection)
            connection.sendall(self.greeting)
            with connection.makefile("rb") as lines:
                fields: dict[str, str] = {}
                for line in lines:
                    name, _, value = line.decode().strip().partition(": ")
                    if name:
                        fields[name] = value
                        continue
                    self.asked.append(fields)
                    if self.answers:
                        self._answer(connection, fields)
                    fields = {}

    def _answer(self, connection: socket.socket, asked: Mapping[str, str]) -> None:
        ours = {"ActionID": asked.get("ActionID", "")}
        if asked["Action"] == "Challenge":
            connection.sendall(_packet({"Response": "Success", **ours, "Challenge": CHALLENGE}))
        elif asked["Action"] == "Login" and not self._is_right(asked):
            connection.sendall(_packet({"Response": "Error", **ours, "Message": "Authentication failed"}))
        elif asked["Action"] == "Login":
            connection.sendall(_packet({"Response": "Success", **ours, "Message": "Authentication accepted"}))
            connection.sendall(_packet({"Event": "FullyBooted", "Status": "Fully Booted"}))
            with self._lock:
                self._listening.append(connection)
                self.logins += 1
        elif asked["Action"] == "CoreShowChannels" and not self.lists_channels:
            connection.sendall(_packet({"Response": "Error", **ours, "Message": "Permission denied"}))
        elif asked["Action"] == "CoreShowChannels":
            connection.sendall(_packet({"Response": "Success", **ours, "EventList": "start"}))
            for each in self.under_way:
                connection.sendall(_packet({"Event": "CoreShowChannel", **ours, **each}))
            connection.sendall(_packet({"Event": "CoreShowChannelsComplete", **ours, "EventList": "Complete"}))
        else:
            connection.sendall(_packet({"Response": "Success", **ours}))

    def _is_right(self, asked: Mapping[str, str]) -> bool:
        key = hashlib.md5(f"{CHALLENGE}{self._secret}".encode()).hexdigest()
        proof = asked.get("Key") == key if asked.get("AuthType") == "MD5" else asked.get("Secret") == self._secret
        return asked.get("Username") == self._user and proof


def _packet(fields: Mapping[str, str]) -> bytes:
    return ("".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode()
