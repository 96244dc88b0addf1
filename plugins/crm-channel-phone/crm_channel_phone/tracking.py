"""From the events of an exchange to calls: which channels belong together, whether people spoke, when it was over."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import attrs

from crm_channel_phone.calls import Call, Numbering, device, named, unique
from crm_channel_phone.legs import Leg, RecordFormat, calls_of, leg_of, seconds_of
from crm_channel_phone.packets import Packet

_MOST: Final = 10_000
"""Calls that are watched at once, and calls that are remembered, at most."""
_WAIT: Final = timedelta(seconds=5)
"""How long the records of a call that nobody saw are waited for."""
_RECORD: Final = {
    "accountcode": "accountcode", "source": "src", "destination": "dst", "destinationcontext": "dcontext",
    "callerid": "clid", "channel": "channel", "destinationchannel": "dstchannel", "lastapplication": "lastapp",
    "starttime": "start", "answertime": "answer", "endtime": "end", "duration": "duration",
    "billableseconds": "billsec", "disposition": "disposition", "uniqueid": "uniqueid", "userfield": "userfield",
    "linkedid": "linkedid",
}  # fmt: skip


@attrs.define(kw_only=True)
class _Talk:
    """A call that is under way."""

    id: str
    caller: str
    dialled: str
    context: str
    name: str
    at: datetime
    channels: dict[str, str]
    seen: list[str] = attrs.field(factory=list)
    spoke_at: datetime | None = None
    rung: list[str] = attrs.field(factory=list)
    spoke: list[str] = attrs.field(factory=list)
    note: str = ""


class Tracker:
    """Is told each event once, in order, and returns the calls that are over by it."""

    def __init__(self, numbering: Numbering, zone: tzinfo = UTC) -> None:
        self._numbering = numbering
        self._form = RecordFormat(zone=zone)
        self._talks: dict[str, _Talk] = {}
        self._of: dict[str, str] = {}
        """The call of each channel; of one that moved to another call that one."""
        self._over: OrderedDict[str, None] = OrderedDict()
        self._records: dict[str, tuple[datetime, list[Leg]]] = {}

    @property
    def under_way(self) -> int:
        """How many calls are watched."""
        return len(self._talks)

    def feed(self, event: Packet, at: datetime) -> list[Call]:
        """Take an event that came at a time; returns the calls that are over now."""
        name = event.get("event", "").casefold()
        if name in ("newchannel", "coreshowchannel"):
            self._begin(event, at)
        elif name in ("dialbegin", "dial") and event.get("subevent", "Begin") == "Begin":
            self._rings(event)
        elif name == "dialend" and event.get("dialstatus", "").upper() == "ANSWER":
            self._speaks(event.get("destuniqueid", ""), event, at)
        elif name == "bridgeenter" and _number(event.get("bridgenumchannels", "")) >= 2 and not _waits(event):
            self._speaks(event.get("uniqueid", ""), event, at)
        elif name == "bridge" and event.get("bridgestate") == "Link":
            self._moves(event.get("uniqueid2", ""), self._of.get(event.get("uniqueid1", ""), ""))
            self._speaks(event.get("uniqueid2", ""), event, at)
        elif name == "newcallerid":
            self._is_called(event)
        elif name == "hangup":
            return self._hangs_up(event, at)
        elif name == "cdr":
            self._records_leg(event, at)
        return self.tick(at)

    def tick(self, at: datetime) -> list[Call]:
        """Return the calls that only records told of, when no more of them come."""
        ready = [key for key, (since, _) in self._records.items() if abs(at - since) >= _WAIT]
        legs = [leg for key in ready for leg in self._records.pop(key)[1]]
        self._remember(ready)
        return calls_of(legs, self._numbering)

    def only(self, channels: Collection[str], at: datetime) -> list[Call]:
        """Return the calls that ended while nobody listened: those of which no channel is left."""
        found: list[Call] = []
        for talk in list(self._talks.values()):
            for channel in [each for each in talk.channels if each not in channels]:
                del talk.channels[channel]
            if not talk.channels:
                talk.note = "its end was not seen"
                found += self._ends(talk, at)
        return found

    def _begin(self, event: Packet, at: datetime) -> None:
        own = event.get("uniqueid", "")
        key = event.get("linkedid", "") or own
        if not own or own in self._over:
            return
        known = self._of.get(own)
        if known is not None:
            self._moves(own, key)
            return
        name = event.get("channel", "")
        talk = self._talks.get(self._of.get(key, key))
        if talk is None:
            lasted = seconds_of(event.get("duration", "")) or 0  # of one that was under way when we came
            talk = _Talk(
                id=key,
                caller=event.get("calleridnum", ""),
                dialled=event.get("exten", ""),
                context=event.get("context", ""),
                name=named(event.get("calleridname", "")),
                at=at - timedelta(seconds=lasted),
                channels={},
            )
            if event.get("bridgeid"):
                talk.spoke_at = talk.at
            self._talks[key] = talk
            self._forget_some()
        else:
            talk.rung.append(device(name))
        talk.channels[own] = name
        talk.seen.append(own)
        self._of[own] = talk.id

    def _rings(self, event: Packet) -> None:
        """Join the channel that is dialled with the call that dials it, as events before Asterisk 12 do not say."""
        self._moves(event.get("destuniqueid", ""), self._of.get(event.get("uniqueid", ""), ""))

    def _speaks(self, channel: str, event: Packet, at: datetime) -> None:
        talk = self._talk(channel, event)
        if talk is None:
            return
        talk.spoke_at = talk.spoke_at or at
        for own, name in talk.channels.items():
            if own == channel and own != talk.id:
                talk.spoke.append(device(name))

    def _is_called(self, event: Packet) -> None:
        talk = self._talks.get(event.get("uniqueid", ""))  # the channel that began the call has its id
        if talk is not None:
            talk.caller = talk.caller or event.get("calleridnum", "")
            talk.name = talk.name or named(event.get("calleridname", ""))

    def _hangs_up(self, event: Packet, at: datetime) -> list[Call]:
        own = event.get("uniqueid", "")
        talk = self._talk(own, event)
        if talk is None:
            return self.tick(at)
        talk.channels.pop(own, None)
        self._of.pop(own, None)
        return [*([] if talk.channels else self._ends(talk, at)), *self.tick(at)]

    def _talk(self, channel: str, event: Packet) -> _Talk | None:
        """Return the call of a channel; an event that names another one says that it has moved there."""
        linked = event.get("destlinkedid" if channel == event.get("destuniqueid") else "linkedid", "")
        if linked and channel in self._of:
            self._moves(channel, linked)
        return self._talks.get(self._of.get(channel, ""))

    def _moves(self, channel: str, key: str) -> None:
        """Join the call of a channel with another one; the older one stays."""
        source, target = self._of.get(channel, ""), self._of.get(key, key)
        if source == target or source not in self._talks or target not in self._talks:
            return
        old, new = self._talks[target], self._talks.pop(source)
        self._of.update(dict.fromkeys([*new.channels, new.id], old.id))
        old.rung += [*(device(name) for name in new.channels.values()), *new.rung]
        old.channels |= new.channels
        old.seen += [new.id, *new.seen]
        old.spoke += new.spoke
        old.spoke_at = min((each for each in (old.spoke_at, new.spoke_at) if each is not None), default=None)

    def _ends(self, talk: _Talk, at: datetime) -> list[Call]:
        del self._talks[talk.id]
        self._of = {own: key for own, key in self._of.items() if key != talk.id}
        self._remember([talk.id, *talk.seen])
        sides = self._numbering.sides(talk.caller, talk.dialled, talk.context)
        if sides is None:
            return []
        direction, number, ours = sides
        rung = unique(talk.spoke or talk.rung) or (ours,)
        return [
            Call(
                id=talk.id,
                direction="in" if direction == "in" else "out",
                number=number,
                name=talk.name if direction == "in" else "",
                at=talk.at,
                duration=None if talk.spoke_at is None else max(0, round((at - talk.spoke_at).total_seconds())),
                ours=tuple(rung) if direction == "in" else (ours,),
                note=talk.note,
            )
        ]

    def _records_leg(self, event: Packet, at: datetime) -> None:
        leg = leg_of({ours: event[theirs] for theirs, ours in _RECORD.items() if theirs in event}, self._form, "")
        if leg is None or not leg.id or any(key in self._over or key in self._of for key in (leg.id, leg.call)):
            return
        self._records.setdefault(leg.call, (at, []))[1].append(leg)

    def _remember(self, keys: Sequence[str]) -> None:
        self._over.update(dict.fromkeys(keys))
        while len(self._over) > _MOST:
            self._over.popitem(last=False)

    def _forget_some(self) -> None:
        for talk in list(_first(self._talks, len(self._talks) - _MOST)):
            del self._talks[talk.id]
            self._of = {own: key for own, key in self._of.items() if key != talk.id}


def _first(talks: dict[str, _Talk], count: int) -> Iterator[_Talk]:
    for number, talk in enumerate(talks.values()):
        if number >= count:
            return
        yield talk


def _waits(event: Packet) -> bool:
    """Whether a bridge is one in which callers hear music, each alone: parked, or until somebody is free."""
    return event.get("bridgetechnology", "") == "holding_bridge"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
