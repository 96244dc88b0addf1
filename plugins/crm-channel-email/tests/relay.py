"""A relay before a mail server: it writes down what clients say, and can fall silent or hang up, as networks do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final

_PIECE: Final = 65_536


class Relay:
    """Passes on what is said at `port` to another one; while `silent` it takes everything and passes on nothing."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.said = b""
        """What clients said."""
        self.silent = False
        self.connections = 0
        self._open: list[socket.socket] = []
        Thread(target=self._serve, daemon=True).start()

    def hang_up(self) -> None:
        """Break all connections off."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """Take no connection any more, and break off those there are."""
        with suppress(OSError):  # which wakes who waits for one
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, heard: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if heard:
                    self.said += piece
                if not self.silent:
                    sink.sendall(piece)
        for each in (source, sink):
            with suppress(OSError):
                each.close()


@contextmanager
def relay(to: int) -> Iterator[Relay]:
    """Run a relay until the end of the `with`."""
    made = Relay(to)
    try:
        yield made
    finally:
        made.close()
