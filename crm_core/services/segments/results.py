"""What a segment answers: a summary by label and the members, their JSON and their table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import attrs

from crm_core.values import format_id, money_text


@attrs.frozen(kw_only=True)
class SummaryRow:
    """One group: how many customers, and the sum of their scores (money in major units)."""

    label: str
    customers: int
    value: int | float | None
    currency: str | None


class Member(NamedTuple):
    """One customer's place: label and score (money in major units)."""

    id: int
    name: str
    label: str
    score: int | float | None


@attrs.frozen(kw_only=True)
class SegmentResult:
    """Who belongs where, with the parameters and policies it was asked with; iterating gives the members."""

    segment: str
    label: str
    params: Mapping[str, Any]
    policy: Mapping[str, Any]
    summary: tuple[SummaryRow, ...]
    members: tuple[Member, ...]
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def to_json(self) -> dict[str, Any]:
        """Return `{"segment", "params", "summary", "members"}` as plain JSON data."""
        return {
            "segment": self.segment,
            "params": dict(self.params),
            "policy": dict(self.policy),
            "summary": [attrs.asdict(row) for row in self.summary],
            "members": [{**member._asdict(), "id": format_id(member.id)} for member in self.members],
            "notes": list(self.notes),
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and cells of the summary's table."""
        rows = [[row.label, f"{row.customers:,}", score_text(row.value, row.currency)] for row in self.summary]
        return [self.label, "customers", "value"], rows

    def __str__(self) -> str:
        head, cells = self.table()
        widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in [head, *cells]
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def score_text(score: float | None, currency: str | None) -> str:
    """Return a score for a person: money as money is written, anything else as a plain number; "" when unknown."""
    if score is None:
        return ""
    return f"{score:,}" if currency is None else money_text(score, currency)
