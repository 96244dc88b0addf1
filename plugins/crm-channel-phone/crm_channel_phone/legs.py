"""Call records: one leg of a call each, as an exchange writes them, and the call that legs belong to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

import attrs

from crm_channel_phone.calls import Call, Numbering, device, named, unique
from crm_core.values import ascii_digits, strip_marks

_BASIC: Final = (
    "accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata",
    "start", "answer", "end", "duration", "billsec", "disposition", "amaflags",
)  # fmt: skip
_NEWER: Final = ("peeraccount", "linkedid", "sequence")
_EPOCH: Final = re.compile(r"(?:.*-)?(?P<epoch>[0-9]{9,11})\.[0-9]+")
_TALKING: Final = frozenset({"confbridge", "meetme", "page"})
"""Applications in which people speak without a second channel."""
_MACHINES: Final = frozenset({"voicemail", "minivm", "directory"})
"""Applications that answer with a second channel, behind which nobody is."""
_DIRECTIONS: Final = {
    **dict.fromkeys(("in", "inbound", "incoming"), "in"),
    **dict.fromkeys(("out", "outbound", "outgoing"), "out"),
}
_DAY: Final = 86_400


@attrs.frozen(kw_only=True)
class Leg:
    """One record.

    Args:
        id: its own.
        call: what the legs of one call have in common.
        caller: the number that called, as it is shown.
        dialled: the number that was called.
        context: where the dial plan began.
        name: what is shown with the caller's number.
        at: when it began.
        end: when it ended.
        spoke: from when until when people spoke; None if nobody answered.
        far: the extension at its other end.
        note: what else was written down.
        direction: "in" or "out" where the record says so itself, else empty.
    """

    id: str
    call: str
    caller: str
    dialled: str
    context: str = ""
    name: str = ""
    at: datetime
    end: datetime
    spoke: tuple[datetime, datetime] | None = None
    far: str = ""
    note: str = ""
    direction: str = ""


@attrs.frozen(kw_only=True)
class RecordFormat:
    """How records say what they say.

    Args:
        zone: the zone of times that name none.
        time_format: how times are written, as of `strptime`; empty for ISO 8601.
        answered: what says that a call was answered, in small letters.
    """

    zone: tzinfo
    time_format: str = ""
    answered: Collection[str] = ("answered",)


def asterisk_columns(values: Sequence[str]) -> dict[str, str]:
    """Name the values of a row of `Master.csv`: 16 columns, and what else cdr.conf has it write.

    Raises:
        ValueError: it has another number of columns.
    """
    more = len(values) - len(_BASIC)
    newer = _NEWER if more >= len(_NEWER) else ()
    single = len(_BASIC) + 1
    optional = ["uniqueid", "userfield"][: more - len(newer)] if more >= 0 else []
    if optional == ["uniqueid"] and not _EPOCH.fullmatch(values[single - 1]):
        optional = ["userfield"]
    return dict(zip((*_BASIC, *optional, *newer), values, strict=True))


def leg_of(found: Mapping[str, str], form: RecordFormat, unnamed: str) -> Leg | None:
    """Return the leg that a record tells of; None if it is none.

    Args:
        found: the record's values by the names of Asterisk's columns; what is not there is left out.
        form: how it is written.
        unnamed: the id of one that has none.
    """
    epoch = _EPOCH.fullmatch(found.get("uniqueid", ""))
    near = int(epoch["epoch"]) if epoch is not None else None
    at = _time(found.get("start", ""), form, near)
    caller, dialled = found.get("src", "").strip(), found.get("dst", "").strip()
    if at is None or not (caller or dialled or found.get("uniqueid", "").strip()):
        return None
    billed, whole = seconds_of(found.get("billsec", "")), seconds_of(found.get("duration", ""))
    end = _time(found.get("end", ""), form, near) or at + timedelta(seconds=whole or billed or 0)
    own = found.get("uniqueid", "").strip() or unnamed
    return Leg(
        id=own,
        call=found.get("linkedid", "").strip() or own,
        caller=caller,
        dialled=dialled,
        context=found.get("dcontext", "").strip(),
        name=named(found.get("clid", "")),
        at=at,
        end=max(at, end),
        spoke=_spoke(found, form, at, max(at, end), billed if "billsec" in found else whole),
        far=device(found.get("dstchannel", "")),
        note=found.get("userfield", "").strip(),
        direction=_DIRECTIONS.get(found.get("direction", "").strip().casefold(), ""),
    )


def calls_of(legs: Iterable[Leg], numbering: Numbering) -> list[Call]:
    """Put the legs of calls together, in the order in which they come; calls within the house are left out."""
    groups: dict[str, list[Leg]] = {}
    for leg in legs:
        groups.setdefault(leg.call, []).append(leg)
    found = (_call(key, group, numbering) for key, group in groups.items())
    return [each for each in found if each is not None]


def seconds_of(text: str) -> int | None:
    """Return a duration written as seconds or as [h:]mm:ss, digits of any script; None if it is none.

    >>> seconds_of("75"), seconds_of("۷۵"), seconds_of("0:01:15"), seconds_of("1:15.9"), seconds_of("?")
    (75, 75, 75, 75, None)
    """
    parts = ascii_digits(strip_marks(text)).strip().partition(".")[0].split(":")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        return None
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total


def _spoke(
    found: Mapping[str, str], form: RecordFormat, at: datetime, end: datetime, seconds: int | None
) -> tuple[datetime, datetime] | None:
    """Return when people spoke: an announcement, a mailbox or a queue that nobody picks up from is no answer."""
    said = found.get("disposition")
    if said is None:
        answered = bool(seconds)
    else:
        application = found.get("lastapp", "").strip().casefold()
        alone = "dstchannel" in found and not found["dstchannel"].strip() and application not in _TALKING
        answered = said.strip().casefold() in form.answered and not alone and application not in _MACHINES
    if not answered:
        return None
    since = _time(found.get("answer", ""), form, int(at.timestamp()))
    if seconds is None:
        return (since or at, max(since or at, end))
    begun = since or max(at, end - timedelta(seconds=seconds))
    return begun, begun + timedelta(seconds=seconds)


def _call(key: str, legs: Sequence[Leg], numbering: Numbering) -> Call | None:
    outside = [(leg, sides) for leg in legs if (sides := _sides(leg, numbering)) is not None]
    if not outside:
        return None
    first, (direction, number, _) = min(outside, key=lambda each: each[0].at)
    same = [(leg, sides) for leg, sides in outside if sides[0] == direction]
    spoken = [(leg, sides) for leg, sides in same if leg.spoke is not None]
    return Call(
        id=key,
        direction="in" if direction == "in" else "out",
        number=number or next((sides[1] for _, sides in same if sides[1]), ""),
        name=first.name if direction == "in" else "",
        at=first.at,
        duration=_together([leg.spoke for leg, _ in spoken if leg.spoke is not None]),
        ours=tuple(unique(_ours(leg, sides[2], direction) for leg, sides in spoken or same)),
        note="\n".join(unique(leg.note for leg in legs)),
    )


def _sides(leg: Leg, numbering: Numbering) -> tuple[str, str, str] | None:
    if not leg.direction:
        return numbering.sides(leg.caller, leg.dialled, leg.context)
    told = frozenset({"told"})
    sure = attrs.evolve(
        numbering,
        inbound=told if leg.direction == "in" else frozenset(),
        outbound=told if leg.direction == "out" else frozenset(),
    )
    return sure.sides(leg.caller, leg.dialled, "told")


def _ours(leg: Leg, side: str, direction: str) -> str:
    return (leg.far or side) if direction == "in" else side


def _together(spans: Sequence[tuple[datetime, datetime]]) -> int | None:
    """Return the seconds that spans cover, those that overlap counted once."""
    if not spans:
        return None
    total, reached = timedelta(), None
    for start, end in sorted(spans):
        begun = start if reached is None else max(start, reached)
        total += max(end - begun, timedelta())
        reached = end if reached is None else max(end, reached)
    return round(total.total_seconds())


def _time(text: str, form: RecordFormat, near: int | None) -> datetime | None:
    """Read a time; of one that the clock shows twice the one is taken that is nearer to `near`, seconds since 1970."""
    plain = ascii_digits(strip_marks(text)).strip()
    try:
        given = form.time_format
        found = datetime.strptime(plain, given) if given else datetime.fromisoformat(plain)  # noqa: DTZ007
        if found.utcoffset() is not None:
            return found
        local = found.replace(tzinfo=form.zone)
        again = local.replace(fold=1)
        if near is not None and abs(again.timestamp() - near) < abs(local.timestamp() - near) < _DAY:
            return again
        local.timestamp()
    except (ValueError, OverflowError):
        return None
    return local
