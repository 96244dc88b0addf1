"""What people call the records that others point at, beside their ids; and ids that no spreadsheet spoils."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from crm_core import CRM, Record, RecordService
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.values import format_id

_LABELS: Final = ("name", "title", "code")
_NUMBER: Final = re.compile(r"[0-9]+E?[0-9]*")


def plain_id(record_id: int) -> str:
    """Return an id as text that a spreadsheet does not take for a number: one that looks like it gets a hyphen.

    >>> plain_id(1)
    '0000000-000001'
    """
    text = format_id(record_id)
    return f"{text[:7]}-{text[7:]}" if _NUMBER.fullmatch(text) else text


def label_field(kind: RecordType) -> str:
    """Return the field by which people call a record of this type; empty where there is none."""
    return next((name for name in _LABELS if name in kind.fields), "")


class Labels:
    """The columns of readable names of one record type: `owner` beside `owner_id`."""

    def __init__(self, crm: CRM, kind: RecordType) -> None:
        """Find the references whose targets have a name."""
        self._crm = crm
        self._named: dict[str, tuple[Field, RecordType, str]] = {}
        self._known: dict[tuple[str, int], str | None] = {}
        for path, field in kind.fields.items():
            name = path.removesuffix("_id")
            if not field.declaration.references or name == path or name in kind.fields:
                continue
            target = crm.registry.types[field.declaration.references]
            if label_field(target):
                self._named[name] = field, target, label_field(target)

    def __contains__(self, name: str) -> bool:
        return name in self._named

    def field(self, name: str) -> Field:
        """Return the reference that a column of names belongs to."""
        return self._named[name][0]

    def beside(self, paths: Iterable[str]) -> list[str]:
        """Return the paths, and behind each reference its column of names."""
        names = {field.path: name for name, (field, _, _) in self._named.items()}
        return [column for path in paths for column in (path, names.get(path, "")) if column]

    def load(self, records: Sequence[Record], wanted: Iterable[str]) -> None:
        """Look up the names that the wanted columns of these records need."""
        self._known.clear()
        for name in wanted:
            if name not in self._named:
                continue
            field, target, label = self._named[name]
            ids = [found for record in records if (found := field.of(record)) is not None]
            service: RecordService[Record] = self._crm.records(target.name)
            for one in service.get_many(list(dict.fromkeys(ids))):
                self._known[target.name, one.id] = getattr(one, label)

    def of(self, name: str, record_id: int | None) -> str | None:
        """Return what a loaded record is called."""
        return None if record_id is None else self._known.get((self._named[name][1].name, record_id))

    def reader(self, name: str) -> Callable[[Record], Any]:
        """Return the reader of a column of names; `load` comes first."""
        field = self.field(name)
        return lambda record: self.of(name, field.of(record))
