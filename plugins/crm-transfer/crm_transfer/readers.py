"""What a mapping becomes for one file: the readers of its records, and what they noticed.

Apart from the compilation, because the run and its look-ups know a mapping in this form alone.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import attrs

from crm_core.extend import Pipeline
from crm_core.records import Record, RecordType, Registry
from crm_transfer.columns import Cells
from crm_transfer.columnwise import OWN
from crm_transfer.errors import BadCell
from crm_transfer.mapping import Check
from crm_transfer.policies import Conflict
from crm_transfer.staging import Grouping, Stage


@attrs.frozen(kw_only=True)
class Context:
    """What a mapping is compiled against: the record types, the place and money of the workspace, its pipelines."""

    registry: Registry
    zone: ZoneInfo
    currency: str
    pipelines: Mapping[str, Pipeline]
    default_pipeline: Pipeline


@attrs.frozen(kw_only=True)
class Reference:
    """A field that points at another record: `read` gives the name under which that one is known.

    `place` is where names are looked up: the type, the system, the field.
    """

    field: str
    read: Callable[[Cells], str]
    target: str
    system: str
    by: str
    later: bool
    lenient: bool
    required: bool
    column: str
    place: tuple[str, str, str] = attrs.field(init=False)

    @place.default
    def _where_names_are_looked_up(self) -> tuple[str, str, str]:
        return self.target, self.system, self.by


@attrs.frozen(kw_only=True)
class RecordReader:
    """One record of a row: which rows make it, under which key, with which values.

    `values` reads many rows at once, each as its values or as what is wrong with it; `digest` marks `content`, what the
    mapping uses of the row; `sources` says of each field which columns it is read from, by name and by place.
    `policies` says of each field who wins where the record is there and says something else, `changed` when the source
    changed the row. `ids` and `same` say by what a record is known that is there without the key. With `keeps_merged`
    a row of a record that was merged leaves the survivor as it is. `is_quiet` says that reading values counts nothing.
    """

    kind: RecordType
    system: str
    per: str
    repeats: bool
    tag: str
    key_columns: str
    applies: Callable[[Cells], bool] | None
    key: Callable[[Cells], str]
    content: Callable[[Cells], str]
    digest: Callable[[str], str]
    values: Callable[[Sequence[Cells]], list[dict[str, Any] | BadCell]]
    references: tuple[Reference, ...]
    also: tuple[tuple[str, Callable[[Cells], str]], ...]
    sources: Mapping[str, tuple[str, tuple[int, ...]]]
    policies: Mapping[str, Conflict]
    changed: Callable[[Cells], dt.datetime | None] | None
    ids: str = ""
    same: tuple[str, ...] = ()
    keeps_merged: bool = False
    is_quiet: bool = False

    def told(self, cells: Cells, path: str) -> str:
        """Return what a row says of a field, as it stands in its cells."""
        return " ".join(cells[at] for at in self.sources[path][1])

    def build(self, values: dict[str, Any], before: Record | None) -> Record:
        """Return the record of these values: a new one, or the one from before with the mapped fields changed."""
        own, added = values.pop(OWN, None), values.pop("extensions", None)
        if own is not None:
            values["fields"] = MappingProxyType({**(before.fields if before else {}), **own})
        if added is not None:
            old: Mapping[str, Mapping[str, Any]] = before.extensions if before else {}
            merged = {name: MappingProxyType({**old.get(name, {}), **content}) for name, content in added.items()}
            values["extensions"] = MappingProxyType({**old, **merged})
        return self.kind.rows.made(values) if before is None else before.evolve(**values)


@attrs.frozen(cache_hash=True)
class Correction:
    """A mistake of the file that a mapping puts right: the key of the mapping, the column, the text as it stands."""

    place: str
    column: str
    text: str


@attrs.frozen(kw_only=True)
class Compiled:
    """A mapping for one file: its records in order, its checks, what it corrected, the columns it does not use.

    `tomans` are the columns with amounts in tomans that were read as rials.
    """

    records: tuple[RecordReader, ...]
    checks: tuple[tuple[Check, Callable[[Cells], bool]], ...]
    corrections: Counter[Correction]
    tomans: set[str]
    unused: tuple[str, ...]
    taken: Mapping[str, str]
    stage: Stage | None = None

    @property
    def grouping(self) -> Grouping | None:
        """How rows are brought together, None when each stands alone."""
        return None if self.stage is None else self.stage.grouping

    def told(self) -> list[str]:
        """Return in words what became of rows before records were made of them."""
        return [] if self.stage is None else self.stage.told()
