"""Where the rows of an edited export have the fields of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_transfer.reading import ABSENT

Cells = Sequence[str]


@attrs.frozen(kw_only=True)
class Column:
    """A field and where a row has it: its cell, that of the currency of money, that of a reference's readable name.

    `others` are further places where JSON may have it: an amount of money is an object, or null.
    """

    field: Field
    at: int
    name: str
    currency_at: int | None = None
    label_at: int | None = None
    label: str = ""
    others: tuple[int, ...] = ()

    def is_left_out(self, cells: Cells) -> bool:
        """Say whether a line of JSON does not name the field at all."""
        places = (self.at, self.currency_at, *self.others)
        return all(cells[at] is ABSENT for at in places if at is not None)

    def typed(self, cells: Cells) -> str:
        """Return the id that a row gives of what it points at; empty where the file has no column of ids."""
        return "" if self.at == self.label_at else cells[self.at].strip()

    def told(self, cells: Cells) -> str:
        """Return what a row says, as it stands in its cells."""
        places = (self.at, self.currency_at) if self.field.declaration.kind == "money" else (self.at, self.label_at)
        return " ".join(cells[at] for at in places if at is not None and cells[at])


def columns_of(kind: RecordType, names: Mapping[str, str], header: Sequence[str]) -> dict[str, Column]:
    """Return the columns of a file by field; `names` says what the file calls the columns of an export."""
    at = {name: place for place, name in enumerate(header)}

    def place(*called: str) -> int | None:
        return next((at[names.get(name, name)] for name in called if names.get(name, name) in at), None)

    found: dict[str, Column] = {}
    for path, field in kind.fields.items():
        spelt = f"ext.{path}" if field.extension not in ("", "fields") else path
        parted = [f"{path}.amount", f"{spelt}.amount"] if field.declaration.kind == "money" else []
        where = place(*parted, path, spelt)
        label = path.removesuffix("_id")
        label_at = place(label) if field.declaration.references and label not in (path, *kind.fields) else None
        if where is None and label_at is None:
            continue
        found[path] = Column(
            field=field,
            at=label_at if where is None and label_at is not None else where or 0,
            name=header[label_at if where is None and label_at is not None else where or 0],
            currency_at=place(f"{path}_currency", f"{path}.currency", f"{spelt}.currency"),
            label_at=label_at,
            label=label,
            others=tuple(at for at in (place(path), place(spelt)) if at is not None and at != where),
        )
    return found
