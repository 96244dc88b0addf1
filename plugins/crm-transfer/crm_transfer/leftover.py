"""Lines that are here and not in the file: a file that lost one must not leave a sale whose amount no line explains."""

from __future__ import annotations

from collections.abc import Sequence

from crm_core import CRM, Record, RecordService
from crm_core.query.ast import In
from crm_transfer.chunk import Chunk
from crm_transfer.errors import BadCell
from crm_transfer.readers import RecordReader
from crm_transfer.rows import Row


def refuse_leftovers(crm: CRM, readers: Sequence[RecordReader], chunk: Chunk) -> None:
    """Refuse groups that changed and have fewer lines in the file than here; a prepared chunk knows what is here."""
    heads = {
        (reader.kind.name, known.record_id): row
        for at, reader in enumerate(readers)
        if reader.per == "group"
        for row, known, same in chunk.known(at)
        if not same and row.error is None
    }
    if not heads:
        return
    places = {
        (reader.kind.name, reference.field, reference.target)
        for reader in readers
        if reader.per == "line"
        for reference in reader.references
        if not reference.by
    }
    for kind, field, target in sorted(places):
        mine = {row_id: row for (name, row_id), row in heads.items() if name == target}
        in_file = {
            known.record_id
            for at, reader in enumerate(readers)
            if reader.per == "line" and reader.kind.name == kind
            for _, known, _ in chunk.known(at)
        }
        service: RecordService[Record] = crm.records(kind)
        left: dict[int, int] = {}
        for line in service.find(In(field, tuple(mine)), limit=None) if mine else ():
            if line.id not in in_file:
                left[getattr(line, field)] = left.get(getattr(line, field), 0) + 1
        for head, count in left.items():
            _refuse(mine[head], count, crm.registry.types[kind].plural.replace("_", " "))


def _refuse(row: Row, count: int, lines: str) -> None:
    if row.group is None:
        return
    message = (
        f"{count:,} {lines} of it are here and not in the file, which must have all rows of a group; delete them, or "
        'say [group] missing = "keep"'
    )
    row.error = BadCell("group", message, column="", value=row.group.key[:80])
