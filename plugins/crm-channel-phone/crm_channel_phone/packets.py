"""The text protocol of Asterisk's manager interface: packets of `Name: value` lines, ended by an empty one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from crm_core.errors import CredentialsWrong

Packet = Mapping[str, str]

_LINE: Final = 64 * 1024
_FIELDS: Final = 400
_BREAKS: Final = "\r\n\x00"


class Packets:
    """Puts packets together of whatever pieces the bytes come in; what is no packet is let go."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}
        self._skipping = False

    def feed(self, content: bytes) -> Iterator[Packet]:
        """Take bytes; yields the packets that are whole, by names in small letters, the first of those that repeat."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            if self._skipping or len(line) > _LINE:
                self._skipping = False
                continue
            yield from self._line(line.rstrip(b"\r").decode("utf-8", "replace"))
        if len(self._rest) > _LINE:
            self._rest, self._skipping = b"", True

    def _line(self, line: str) -> Iterator[Packet]:
        if not line.strip():
            found, self._fields = self._fields, {}
            if found:
                yield found
            return
        name, colon, value = line.partition(":")
        if colon and len(self._fields) < _FIELDS:
            self._fields.setdefault(name.strip().casefold(), value.strip())


def written(fields: Mapping[str, str]) -> bytes:
    """Return a packet as it is sent.

    Raises:
        CredentialsWrong: something in it would begin a line of its own.
    """
    for name, value in fields.items():
        if any(mark in value for mark in _BREAKS):
            raise CredentialsWrong(f"{name} has a line break in it", hint="look at where the secret comes from")
    lines = (f"{name}: {value}\r\n" for name, value in fields.items())
    return ("".join(lines) + "\r\n").encode()
