"""Texts as TOML writes them, for mappings that are made rather than typed."""

from __future__ import annotations


def quoted(text: str) -> str:
    r"""Return a text in quotation marks.

    >>> print(quoted('12" screen'))
    "12\" screen"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escape(c) for c in escaped) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
