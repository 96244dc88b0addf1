"""The headers of a mail or of a part, by name, as they came and as text."""

from __future__ import annotations

from email.message import Message
from typing import Any, Final, Protocol

from crm_channel_email.charsets import header_text

_LONGEST: Final = 20_000
"""Characters of a header that are looked at."""


class HasCharset(Protocol):
    """What says how bytes are read that declare no charset."""

    @property
    def charset(self) -> str: ...


class Headers:
    """Headers by lower-case name: of several of one name the first counts."""

    def __init__(self, message: Message[Any, Any], bounds: HasCharset) -> None:
        self._charset = bounds.charset
        self._values: dict[str, str] = {}
        for name, value in message.raw_items():
            self._values.setdefault(str(name).strip().lower(), str(value)[:_LONGEST])

    def raw(self, name: str) -> str:
        """Return a header in one line, as it came; empty if there is none."""
        return self._values.get(name, "").replace("\r", " ").replace("\n", " ")

    def text(self, name: str) -> str:
        """Return a header as text."""
        return self.decode(self.raw(name))

    def decode(self, raw: str) -> str:
        """Return a part of a header as text."""
        return header_text(raw, self._charset)
