"""Call records of a CSV file that an exchange appends to, such as Asterisk's `Master.csv`."""

from __future__ import annotations

import hashlib
from codecs import lookup
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs

from crm_channel_phone.calls import Numbering, message_of
from crm_channel_phone.following import Piece, cursor_of, next_piece, places_of, require
from crm_channel_phone.legs import Leg, RecordFormat, asterisk_columns, calls_of, leg_of
from crm_channel_phone.rows import Row, rows_in
from crm_core.extend import Channel, ChannelAccount, Received

_PAGE: Final = 200
_AHEAD: Final = 50
"""Rows behind a page in which the other legs of its calls are looked for."""
_FEWEST: Final = 16
_IN_TABLES: Final = {"calldate": "start"}
"""What the table of calls of FreePBX and Issabel calls a column, and what the file of Asterisk does."""


def _zone(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{attribute.name} must be a time zone, such as Asia/Tehran") from None


def _charset(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        plain = "\n".encode(lookup(value).name) == b"\n"
    except (LookupError, ValueError):
        plain = False
    if not plain:  # lines are told apart before they are decoded
        raise ValueError(f"{attribute.name} must be a charset that has ASCII in it, such as windows-1256")


def _day(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if value:
        try:
            date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{attribute.name} must be a day, such as 2026-01-31") from None


def _pairs(instance: Any, attribute: attrs.Attribute[Any], value: Sequence[str]) -> None:
    if not all(name and found for name, _, found in (each.partition("=") for each in value)):
        raise ValueError(f'{attribute.name} must be pairs, such as "src=Caller"')


def _one_character(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if len(value) != 1 or value in '"\r\n':
        raise ValueError(f"{attribute.name} must be one character, such as ;")


@attrs.frozen(kw_only=True)
class CdrSettings:
    """The keys of `[channels.<name>]` with `type = "phone-cdr"`.

    Args:
        file: the file, relative to the workspace; its rotated ones stand beside it.
        zone: the zone of its times.
        header: whether its first line names the columns; without it they are those of `Master.csv`.
        columns: pairs such as "src=Caller": which column has what Asterisk calls so; for files with a header.
        delimiter: what parts the columns.
        encoding: the charset.
        time_format: how times are written, as of `strptime`; ISO 8601 without it.
        answered: what `disposition` says of a call that was answered.
        since: the first day whose calls are taken in; all of them without it.
        settle: the seconds to wait for other legs of a call, so that one that rang in vain is not taken for all of it.
        extension_digits, own, inbound, outbound, outside: which side is ours; see `Numbering`.
    """

    file: str
    zone: str = attrs.field(validator=_zone)
    header: bool = False
    columns: tuple[str, ...] = attrs.field(default=(), validator=_pairs)
    delimiter: str = attrs.field(default=",", validator=_one_character)
    encoding: str = attrs.field(default="utf-8", validator=_charset)
    time_format: str = ""
    answered: tuple[str, ...] = ("ANSWERED",)
    since: str = attrs.field(default="", validator=_day)
    settle: int = attrs.field(default=30, validator=attrs.validators.ge(0))
    extension_digits: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    own: tuple[str, ...] = ()
    inbound: tuple[str, ...] = ()
    outbound: tuple[str, ...] = ()
    outside: str = ""


class CallRecords(Channel):
    """One file. A number is a thread."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: CdrSettings = account.settings
        given = self._settings
        self._path = (account.directory or Path()) / given.file
        self._lines = 2 if given.header else 1  # a header is the same in every file
        self._numbering = Numbering(
            extension_digits=given.extension_digits,
            own=given.own,
            inbound=given.inbound,
            outbound=given.outbound,
            outside=given.outside,
        )
        answered = tuple(each.casefold() for each in given.answered)
        self._form = RecordFormat(zone=ZoneInfo(given.zone), time_format=given.time_format, answered=answered)
        self._since = (
            datetime.combine(date.fromisoformat(given.since), datetime.min.time(), ZoneInfo(given.zone))
            if given.since
            else None
        )

    def poll(self, cursor: str) -> Received:
        """Return the calls of the next page of rows.

        The cursor stays before a call whose legs may not all be written yet; rows that were read are read again then.
        """
        places = places_of(cursor, self._path, lines=self._lines)
        piece = next_piece(self._path, places, lines=self._lines)
        if piece is None:
            return Received(cursor=cursor_of(places))
        rows, legs = self._read(piece, _PAGE + _AHEAD)
        whole = piece.last and len(rows) < _PAGE + _AHEAD
        end = len(rows) if whole else min(_PAGE, max(1, len(rows) - _AHEAD))
        now = datetime.now(UTC)
        fresh = (n for n, leg in enumerate(legs) if leg is not None and piece.live and self._is_fresh(leg, now))
        end = min(end, next(fresh, end))
        begun = {leg.call for leg in legs[:end] if leg is not None}
        calls = calls_of((leg for leg in legs if leg is not None and leg.call in begun), self._numbering)
        used = rows[end - 1].end if end else 0
        return Received(
            messages=[message_of(each) for each in calls if self._is_wanted(each.at)],
            cursor=cursor_of(piece.after(used)),
            more=used > 0,
        )

    def check(self) -> str:
        """Read the first rows of what there is, and say how many were understood."""
        require(self._path)
        piece = next_piece(self._path, places_of("", self._path, lines=self._lines), lines=self._lines)
        rows, legs = self._read(piece, _PAGE) if piece is not None else ([], [])
        named = piece is not None and self._settings.header and piece.start == 0
        total, good = len(rows) - (1 if named and rows else 0), sum(leg is not None for leg in legs)
        return f"{self._path.name}: {good} of the first {total} rows are calls"

    def _read(self, piece: Piece, most: int) -> tuple[list[Row], list[Leg | None]]:
        """Return rows and the legs that they tell of, None where one is no leg."""
        given, names = self._settings, self._names(piece)
        fewest = len(names) if names is not None else _FEWEST
        rows: list[Row] = []
        found = rows_in(piece.content, delimiter=given.delimiter, encoding=given.encoding, columns=fewest)
        for row in found:
            rows.append(row)
            if len(rows) == most:
                break
        if not rows and piece.content and not piece.last:  # one row without an end: it is let go
            rows = [Row(None, 0, len(piece.content))]
        return rows, [self._leg(row, names) for row in rows]

    def _names(self, piece: Piece) -> list[str] | None:
        """Return what the columns are called; None for those of `Master.csv`."""
        if not self._settings.header:
            return None
        given = self._settings
        title = next(rows_in(piece.title, delimiter=given.delimiter, encoding=given.encoding, columns=1), None)
        mapped = {theirs.strip().casefold(): ours.strip() for ours, _, theirs in map(_pair, given.columns)}
        names = [each.strip().casefold() for each in (title.values if title is not None else None) or []]
        if "start" not in (*names, *mapped.values()):
            mapped |= _IN_TABLES
        return [mapped.get(name, "" if name in mapped.values() else name) for name in names]

    def _leg(self, row: Row, names: Sequence[str] | None) -> Leg | None:
        if row.values is None:
            return None
        try:
            found = asterisk_columns(row.values) if names is None else dict(zip(names, row.values, strict=True))
        except ValueError:
            return None
        unnamed = f"row:{hashlib.sha256(repr(row.values).encode()).hexdigest()[:32]}"
        return leg_of(found, self._form, unnamed)

    def _is_fresh(self, leg: Leg, now: datetime) -> bool:
        return abs(now - leg.end) < timedelta(seconds=self._settings.settle)

    def _is_wanted(self, at: datetime | None) -> bool:
        return self._since is None or at is None or at >= self._since


def _pair(text: str) -> tuple[str, str, str]:
    return text.partition("=")
