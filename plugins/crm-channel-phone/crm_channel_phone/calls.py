"""What a call is, whoever tells of it: which side is ours, the other side's number, and the message it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

import attrs

from crm_core.extend import Address, IncomingMessage
from crm_core.values import ascii_digits, phone_key, strip_marks

Direction = Literal["in", "out"]
Sides = tuple[Direction, str, str]
"""The direction, the number of the other side ("" where it is withheld), and our own side."""

WITHHELD: Final = "withheld"
"""Stands where a caller's number would: no phone number, so that nobody is taken for whoever called so before."""
_SPELT: Final = frozenset({"266696687", "7378742833", "86282452253", "8656696", "2562533"})
"""ANONYMOUS, RESTRICTED, UNAVAILABLE, UNKNOWN and BLOCKED, as the keys of a telephone spell them."""
_URI: Final = re.compile(r"(?:sips?|tel):(?P<number>[^@;?]*)(?:.*?;ext=(?P<extension>[0-9]{1,8}))?", re.IGNORECASE)
_DEVICE: Final = re.compile(r"[^/]+/(?P<name>[^-@/;]+)")
_NOT_DIGITS: Final = re.compile(r"[^0-9]")
_LONGEST: Final = 200


@attrs.frozen(kw_only=True)
class Call:
    """A call that is over.

    Args:
        id: the same however often and by whichever leg it is told.
        direction: who called.
        number: the other side's; empty where it is withheld.
        name: what is shown with the number.
        at: when it began.
        duration: the seconds that people spoke; None if nobody answered.
        ours: the extensions that spoke, or, if none did, those that were rung.
        note: what else was written down.
    """

    id: str
    direction: Direction
    number: str = ""
    name: str = ""
    at: datetime | None = None
    duration: int | None = None
    ours: tuple[str, ...] = ()
    note: str = ""


def _numbers(given: Iterable[str]) -> frozenset[str]:
    return frozenset(number_of(each) for each in given) - {""}


def _words(given: Iterable[str]) -> frozenset[str]:
    return frozenset(given)


@attrs.frozen(kw_only=True)
class Numbering:
    """Which side of a call is ours.

    Args:
        extension_digits: a number of so many digits at most is an extension.
        own: numbers of the house that are longer, such as those that outgoing calls show.
        inbound: contexts of the dial plan whose calls come from outside, whatever number is shown.
        outbound: contexts whose calls are made by us, whatever number is shown.
        outside: what is dialled to get a line, and is no part of the number.
    """

    extension_digits: int = 5
    own: frozenset[str] = attrs.field(default=frozenset(), converter=_numbers)
    inbound: frozenset[str] = attrs.field(default=frozenset(), converter=_words)
    outbound: frozenset[str] = attrs.field(default=frozenset(), converter=_words)
    outside: str = ""

    def is_ours(self, number: str) -> bool:
        """Whether a number is an extension, or one of the house's."""
        plain = _plain(number)
        digits = _NOT_DIGITS.sub("", plain)
        if digits == plain and 0 < len(digits) <= self.extension_digits:
            return True
        return bool(self.own) and number_of(number) in self.own

    def sides(self, caller: str, dialled: str, context: str) -> Sides | None:
        """Return who called whom; None for a call within the house, or to a service of the exchange."""
        ours = context in self.outbound or (context not in self.inbound and self.is_ours(caller))
        if not ours:
            return "in", number_of(caller), _plain(dialled)
        number = _plain(dialled)
        if self.is_ours(number):
            return None
        reached = number_of(number.removeprefix(self.outside))
        return ("out", reached, _plain(caller)) if reached else None


def number_of(text: str) -> str:
    """Return the number in what a caller or a destination is called; empty where it is withheld or none.

    >>> number_of("۰۹۱۲ ۳۴۵ ۶۷۸۹"), number_of("sip:+4930123@pbx.example.org"), number_of("tel:+4930123;ext=12")
    ('09123456789', '+4930123', '+4930123x12')
    >>> number_of("anonymous"), number_of("+266696687"), number_of("0000000000")
    ('', '', '')
    """
    plain = _plain(text)
    uri = _URI.match(plain)
    if uri is not None:
        plain = uri["number"] + (f"x{uri['extension']}" if uri["extension"] else "")
    key = phone_key(plain)
    if key is None:
        return ""
    digits = key.lstrip("+").partition("x")[0]
    return "" if digits in _SPELT or not digits.strip("0") else key


def named(text: str) -> str:
    """Return the name in a caller id such as `"Sara" <+4930123>`; empty where there is only a number.

    >>> named('"سارا" <+989123456789>'), named("Sara"), named("+49 30 123")
    ('سارا', 'Sara', '')
    """
    name = " ".join(text.partition("<")[0].replace('"', " ").split())[:_LONGEST]
    known = phone_key(name) is not None or name.casefold() in ("unknown", "anonymous", "restricted", "private")
    return "" if known else name


def device(channel: str) -> str:
    """Return whose channel it is: 101 of `PJSIP/101-0000002a` and of `Local/101@from-queue-1;1`."""
    found = _DEVICE.match(channel)
    return found["name"] if found is not None else ""


def message_of(call: Call) -> IncomingMessage:
    """Return a call as a channel tells of it."""
    told = {"in": "with" if call.duration is not None else "rang at", "out": "by"}[call.direction]
    ours = f"{told} {', '.join(unique(call.ours))}" if call.ours else ""
    return IncomingMessage(
        external_id=call.id,
        sender=Address(kind="phone", value=call.number or WITHHELD, name=_one_line(call.name)),
        at=call.at,
        text="\n".join(part for part in (call.note.strip(), ours) if part),
        thread=call.number,
        kind="call",
        duration=call.duration,
        direction=call.direction,
    )


def unique(found: Iterable[str]) -> Sequence[str]:
    """Return each text once, in order, without the empty ones."""
    return tuple(dict.fromkeys(each for each in found if each))


def _plain(text: str) -> str:
    return ascii_digits(strip_marks(text)).strip()


def _one_line(text: str) -> str:
    return " ".join(text.replace("\x00", "").split())[:_LONGEST]
