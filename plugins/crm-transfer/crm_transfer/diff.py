"""What an edited export changes: field by field, in words and as data."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import attrs

from crm_core.values import format_id

SHOWN: Final = 1_000
"""How many changes, clashes and new rows a diff names; it counts them all."""


@attrs.frozen(kw_only=True)
class FieldEdit:
    """One changed cell: the record (its id and what it is called), the field, what it said and what it says now."""

    row: int
    record: int
    name: str
    field: str
    old: str
    new: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**attrs.asdict(self), "record": format_id(self.record)}

    def __str__(self) -> str:
        return f"row {self.row}, {self.name}: {self.field}: {_quoted(self.old)} → {_quoted(self.new)}"


@attrs.frozen(kw_only=True)
class Clash:
    """A field changed both in the file and, since the export, in the CRM.

    `base` is what the export said, None where the ledger does not know any more; `taken` whether the file won.
    """

    row: int
    record: int
    name: str
    field: str
    base: str | None
    file: str
    now: str
    policy: str
    taken: bool
    by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**attrs.asdict(self), "record": format_id(self.record)}

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        was = "" if self.base is None else f", it was {_quoted(self.base)}"
        won = "the file's is taken" if self.taken else "kept as it is"
        return (
            f"row {self.row}, {self.name}: {self.field}: the file says {_quoted(self.file)}, "
            f"changed since the export{by} to {_quoted(self.now)}{was}: {won}"
        )


@attrs.frozen(kw_only=True)
class Suspect:
    """A cell that the spreadsheet program may have changed by itself; the field stays as it is.

    `how` says in words what it may have done, such as "taken for a date".
    """

    row: int
    record: int
    name: str
    field: str
    now: str
    file: str
    how: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**attrs.asdict(self), "record": format_id(self.record)}

    def __str__(self) -> str:
        return (
            f"row {self.row}, {self.name}: {self.field}: {_quoted(self.now)} became {_quoted(self.file)} "
            f"({self.how}): kept as it is"
        )


@attrs.define
class Diff:
    """The first changes, clashes, suspects and new rows of a file, and how many there are.

    `fields` counts edits by field, `suspected` suspects.
    """

    changes: list[FieldEdit] = attrs.field(factory=list)
    clashes: list[Clash] = attrs.field(factory=list)
    suspects: list[Suspect] = attrs.field(factory=list)
    new_rows: list[int] = attrs.field(factory=list)
    fields: Counter[str] = attrs.field(factory=Counter)
    suspected: Counter[str] = attrs.field(factory=Counter)
    clashing: int = 0
    kept: int = 0
    created: int = 0
    stale: int = 0

    def add(self, edits: list[FieldEdit], clashes: list[Clash], suspects: list[Suspect], *, stale: bool) -> None:
        """Note what a row changes."""
        self.suspected.update(suspect.field for suspect in suspects)
        self.suspects += suspects[: SHOWN - len(self.suspects)]
        self.stale += stale
        self.fields.update(edit.field for edit in edits)
        self.clashing += len(clashes)
        self.kept += sum(1 for clash in clashes if not clash.taken)
        self.changes += edits[: SHOWN - len(self.changes)]
        self.clashes += clashes[: SHOWN - len(self.clashes)]

    def add_new(self, row: int) -> None:
        """Note a row that makes a new record."""
        self.created += 1
        if len(self.new_rows) < SHOWN:
            self.new_rows.append(row)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "changes": [edit.to_json() for edit in self.changes],
            "changes_left_out": sum(self.fields.values()) - len(self.changes),
            "changed_fields": dict(sorted(self.fields.items())),
            "conflicts": [clash.to_json() for clash in self.clashes],
            "conflicts_left_out": self.clashing - len(self.clashes),
            "spreadsheet_changes": [suspect.to_json() for suspect in self.suspects],
            "spreadsheet_changes_left_out": sum(self.suspected.values()) - len(self.suspects),
            "stale_rows": self.stale,
            "new_rows": self.new_rows,
            "new_rows_left_out": self.created - len(self.new_rows),
        }


def _quoted(text: str) -> str:
    return f"{text!r}" if text else "nothing"
