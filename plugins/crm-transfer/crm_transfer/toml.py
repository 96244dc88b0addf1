"""Texts as TOML writes them, for mappings that are made rather than typed."""

from __future__ import annotations


def quoted(text: str) -> str:
    r"""Return a text in quotation marks.

    >>> print(quoted('12" screen'))
    "12\" screen"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
