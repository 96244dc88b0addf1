"""The parts of a message: what was written now, what is quoted from before, and the signature; nothing is thrown away.

The whole text stays in the interaction; the parts are told apart when it is shown, so a better rule helps old messages.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

_SIGNATURE: Final = ("--", "-- ", "—")
_LONGEST: Final = 1_000
"""Characters of a line that is looked at for what introduces a quotation: longer ones are text."""
_MARKS: Final = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069\ufeff"))
# What programs write above what they quote: "On ... wrote:" in the languages of the house, and Outlook's headers.
_WROTE: Final = re.compile(
    r"(?:on|am|le|el|il|op|в|در|به)\b[^\n]{0,900}"
    r"\b(?:wrote|schrieb|a écrit|escribió|ha scritto|schreef|пишет|написал\w?|نوشت(?:ه است|ه‌است)?)\b[^\n:]{0,80}:\Z",
    re.IGNORECASE,
)
_ARMENIAN: Final = re.compile(r"[^\n]{0,900}(?:գրել է|գրեց)\s*[:։]\Z")
_DIVIDER: Final = re.compile(
    r"-{2,}\s*(?:original message|forwarded message|ursprüngliche nachricht|исходное сообщение|پیام اصلی)\s*-{2,}\Z",
    re.IGNORECASE,
)
_FROM: Final = re.compile(r"\*?(?:from|von|de|da|от|از|ումից)\*?\s*:\s?\S", re.IGNORECASE)
_SENT: Final = re.compile(
    r"\*?(?:sent|date|gesendet|datum|envoyé|enviado|inviato|отправлено|дата|ارسال|تاریخ|ուղարկված)\*?\s*:",
    re.IGNORECASE,
)


@attrs.frozen
class Parts:
    """The parts of a text, which together are the whole of it."""

    text: str
    signature: str = ""
    quoted: str = ""


def parts_of(body: str) -> Parts:
    r"""Return what was written now, the signature, and what is quoted.

    Text below or between quotations is written now too: only a quotation that nothing follows is set apart. Where
    everything is quoted, all of it is the text.

    >>> parts_of("Yes.\n-- \nSara\nOn Monday Ada wrote:\n> Ready?").text
    'Yes.\n'
    """
    lines = body.splitlines(keepends=True)
    start = _quotation(lines)
    written, quoted = lines[:start], "".join(lines[start:])
    sign = next((n for n, line in enumerate(written) if _plain(line, strip=False) in _SIGNATURE), len(written))
    text, signature = "".join(written[:sign]), "".join(written[sign:])
    if not text.strip():
        return Parts(body)
    return Parts(text, signature, quoted)


def _quotation(lines: list[str]) -> int:
    """Return the line where the quotation at the end begins; the number of lines where there is none."""
    for number, line in enumerate(lines):
        plain = _plain(line)
        if not plain or len(plain) > _LONGEST:
            continue
        if _DIVIDER.match(plain):
            return number
        if _FROM.match(plain) and any(_SENT.match(_plain(line)[:_LONGEST]) for line in lines[number + 1 : number + 4]):
            return number
        # A long introduction is wrapped by some programs.
        joined = f"{plain} {_plain(lines[number + 1])}" if number + 1 < len(lines) else plain
        for told, after in ((plain, number + 1), (joined, number + 2)):
            if (_WROTE.match(told) or _ARMENIAN.match(told)) and _all_quoted(told, lines[after:]):
                return number
    end = len(lines)
    while end and (not lines[end - 1].strip() or _is_quoted(lines[end - 1])):
        end -= 1
    return end if any(_is_quoted(line) for line in lines[end:]) else len(lines)


def _all_quoted(introduction: str, lines: list[str]) -> bool:
    """Whether nothing is written below: all of it is marked, or nothing but an introduction with a date or address."""
    filled = [line for line in lines if line.strip()]
    marked = [_is_quoted(line) for line in filled]
    dated = any(each.isdigit() or each == "@" for each in introduction)
    return bool(filled) and (all(marked) or (dated and not any(marked)))


def _is_quoted(line: str) -> bool:
    return _plain(line).startswith(">")


def _plain(line: str, *, strip: bool = True) -> str:
    bare = line.translate(_MARKS).rstrip("\r\n")
    return bare.strip() if strip else bare
