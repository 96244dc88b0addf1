"""What an import says of itself: counts that always balance, the rejected rows, and the traps of the data in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from crm_core.values import format_id
from crm_transfer.conflicts import Kept
from crm_transfer.diff import Diff

SHOWN: Final = 1_000
"""How many rejected rows a report names; the reject file has them all."""


ERROR_COLUMNS: Final = ("error_row", "error_column", "error_rule", "error_message")
"""What a reject file says of each row, in columns after the file's own."""
SURPLUS: Final = "error_cell_"
"""How the columns are called, with their number, that a reject file has for cells beyond those of the file."""
BEYOND: Final = "\0"
"""What parts, in the last cell of a rejected row, the cells that are beyond the columns: a NUL is never kept."""
_LONGEST: Final = 80
_LISTED: Final = 50


def is_reject_header(cells: Sequence[str]) -> bool:
    """Say whether a row is the header of a reject file."""
    return set(ERROR_COLUMNS) <= {cell.strip() for cell in cells}


def shown(text: str) -> str:
    """Return a cell as a report shows it: the beginning of a long one, and how long it is; lone surrogates escaped.

    >>> shown("x" * 100)[75:]
    'xxxxx... (100 characters)'
    """
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"
    return cut.encode("utf-8", "backslashreplace").decode()


def listed(names: Iterable[str]) -> str:
    """Return names in one line: the first of many, and how many more there are.

    >>> listed(str(number) for number in range(60))[-18:]
    '48, 49 and 10 more'
    """
    every = list(names)
    left = len(every) - _LISTED
    return ", ".join(every[:_LISTED]) + (f" and {left:,} more" if left > 0 else "")


@attrs.define
class Counts:
    """How many rows (or records of a type) were read, and what became of them: read is always the sum of the others."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0

    @property
    def read(self) -> int:
        """The sum of all."""
        return self.created + self.updated + self.unchanged + self.rejected

    def add(self, status: str, times: int = 1) -> None:
        """Count a row or record under what became of it."""
        setattr(self, status, getattr(self, status) + times)

    def to_json(self) -> dict[str, int]:
        """Return the counts as plain data."""
        return {
            "read": self.read,
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "rejected": self.rejected,
        }


@attrs.frozen
class RowError:
    """Why a row was rejected."""

    file: str
    row: int
    column: str
    value: str
    rule: str
    message: str

    def __str__(self) -> str:
        column = f", column {self.column!r}" if self.column else ""
        value = f": {self.value!r}" if self.value else ":"
        return f"{self.file}, row {self.row}{column}{value} {self.message} [{self.rule}]"


@attrs.define(kw_only=True)
class FileReport:
    """What became of one file: its counts, per record type as well, notes in words, where its rejected rows went.

    `kept` names the first fields that a policy kept as they are in the CRM, `kept_fields` counts all by (type, field).
    `diff` is there for an edited export: what it changes, field by field.
    `skipped` counts, by rule, the rows that the mapping leaves out; among the counts they are unchanged ones.
    """

    file: str
    counts: Counts = attrs.field(factory=Counts)
    types: dict[str, Counts] = attrs.field(factory=dict)
    skipped: dict[str, int] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)
    rejects_file: str | None = None
    kept: list[Kept] = attrs.field(factory=list)
    kept_fields: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    diff: Diff | None = None

    def keep(self, kept: Sequence[Kept]) -> None:
        """Count fields that a policy kept as they are, and remember the first ones."""
        for one in kept:
            self.kept_fields[one.type, one.field] += 1
            if len(self.kept) < SHOWN:
                self.kept.append(attrs.evolve(one, file=self.file))

    def of_type(self, name: str) -> Counts:
        """Return the counts of a record type."""
        return self.types.setdefault(name, Counts())

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "file": self.file,
            **self.counts.to_json(),
            "types": {name: counts.to_json() for name, counts in self.types.items()},
            "skipped": self.skipped,
            "notes": self.notes,
            "rejects_file": self.rejects_file,
            "kept": sum(self.kept_fields.values()),
            **(self.diff.to_json() if self.diff else {}),
        }


@attrs.define(kw_only=True)
class ImportReport:
    """What became of a whole import; `errors` names the first rejected rows, `left_out` counts the others."""

    operation: int | None = None
    dry_run: bool = False
    files: list[FileReport] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    errors: list[RowError] = attrs.field(factory=list)
    seconds: float = 0.0

    @property
    def counts(self) -> Counts:
        """The rows of all files."""
        return _sum([file.counts for file in self.files])

    @property
    def types(self) -> dict[str, Counts]:
        """The records of all files by type."""
        names = dict.fromkeys(name for file in self.files for name in file.types)
        return {name: _sum([file.types[name] for file in self.files if name in file.types]) for name in names}

    @property
    def kept_fields(self) -> Counter[tuple[str, str]]:
        """How many fields of all files a policy kept as they are in the CRM, by (type, field)."""
        return sum((file.kept_fields for file in self.files), Counter())

    @property
    def skipped(self) -> dict[str, int]:
        """The rows that mappings leave out, by rule; they are among the unchanged ones."""
        total: dict[str, int] = {}
        for file in self.files:
            for name, count in file.skipped.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def left_out(self) -> int:
        """How many rejected rows `errors` does not name."""
        return max(0, self.counts.rejected - len({(error.file, error.row) for error in self.errors}))

    def to_json(self) -> dict[str, Any]:
        """Return the report in the shape of `crm import --json`."""
        first = next((file.rejects_file for file in self.files if file.rejects_file), None)
        return {
            "operation": format_id(self.operation) if self.operation else None,
            "dry_run": self.dry_run,
            **self.counts.to_json(),
            "types": {name: counts.to_json() for name, counts in self.types.items()},
            "skipped": self.skipped,
            "rejects_file": first,
            "errors": [attrs.asdict(error) for error in self.errors],
            "errors_left_out": self.left_out,
            "kept": [kept.to_json() for file in self.files for kept in file.kept][:SHOWN],
            "kept_fields": [{"type": t, "field": f, "count": n} for (t, f), n in sorted(self.kept_fields.items())],
            "notes": self.notes,
            "files": [file.to_json() for file in self.files],
        }


def _sum(all_counts: list[Counts]) -> Counts:
    total = Counts()
    for counts in all_counts:
        for status in ("created", "updated", "unchanged", "rejected"):
            total.add(status, getattr(counts, status))
    return total
