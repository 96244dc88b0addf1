"""What comes of telling subscribers, as plain data: the calls, what was told, what failed."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from crm_core.ledger.standing import Parked


@attrs.frozen
class Call:
    """One call of a subscriber: what it is told of is the transaction at `position`."""

    plugin: str
    hook: str
    position: int


@attrs.frozen(kw_only=True)
class Told:
    """What a subscriber was told of in one run: so many transactions, the last of them at `position`."""

    plugin: str
    hook: str
    transactions: int
    position: int


@attrs.frozen(kw_only=True)
class Failure:
    """What a subscriber failed on: the transaction at `position`.

    `again_in` is when it is tried again, in seconds; None: it is parked, after `attempts`.
    """

    plugin: str
    hook: str
    position: int
    error: str
    attempts: int
    again_in: int | None


@attrs.frozen(kw_only=True)
class DeliveryReport:
    """What one run did: transactions told, all of them and by subscriber, and what failed."""

    delivered: int
    told: tuple[Told, ...]
    failures: tuple[Failure, ...]


def told_one(parked: Parked) -> Told:
    """Say of what was parked that it was told after all."""
    return Told(plugin=parked.plugin, hook=parked.hook, transactions=1, position=parked.position)


def report_of(told: Sequence[Told], failures: Sequence[Failure]) -> DeliveryReport:
    """Put together what came of one run."""
    return DeliveryReport(delivered=sum(one.transactions for one in told), told=tuple(told), failures=tuple(failures))
