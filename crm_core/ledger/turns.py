"""The order in which rows may take unique values from each other."""

from __future__ import annotations

from collections.abc import Sequence

from crm_core.ledger.work import Edit
from crm_core.records.schema import Primitive, Row, Table

_Key = tuple[tuple[str, ...], tuple[Primitive, ...]]


def in_turns(table: Table, names: Sequence[str], edits: Sequence[Edit]) -> tuple[list[list[Edit]], list[Edit]]:
    """Part edits so that each writes only unique values that earlier turns gave up.

    Returns the turns, mostly one, and the edits of a circle, in which nobody can be first.
    """
    columns = [index.columns for index in table.indexes if index.unique]
    moving = {e.before[0]: e for e in edits if any(not e.changes.keys().isdisjoint(one) for one in columns)}
    turns = [[edit for edit in edits if edit.before[0] not in moving]]
    while moving:
        held = {key: row_id for row_id, edit in moving.items() for key in _keys(columns, names, edit.before, edit)}
        free = [
            row_id
            for row_id, edit in moving.items()
            if all(held.get(key, row_id) == row_id for key in _keys(columns, names, _after(names, edit), edit))
        ]
        if not free:
            break
        turns.append([moving.pop(row_id) for row_id in free])
    return [turn for turn in turns if turn], list(moving.values())


def _after(names: Sequence[str], edit: Edit) -> Row:
    return tuple(edit.changes.get(name, cell) for name, cell in zip(names, edit.before, strict=True))


def _keys(columns: Sequence[tuple[str, ...]], names: Sequence[str], row: Row, edit: Edit) -> list[_Key]:
    """Return the unique values of a row that its edit touches."""
    cells = dict(zip(names, row, strict=True))
    touched = (one for one in columns if not edit.changes.keys().isdisjoint(one))
    return [(one, values) for one in touched if None not in (values := tuple(cells[name] for name in one))]
