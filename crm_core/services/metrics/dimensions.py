"""What a number can be grouped by: from a noun ("owner", "team", "country") to the joins and the column behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from sqlalchemy import select

from crm_core.errors import UsageError
from crm_core.query.bind import close_matches
from crm_core.records.registry import Field, RecordType, Registry
from crm_core.services.metrics.results import GroupKey
from crm_core.values import format_id

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause

    from crm_core.query.question import Question

NONE_LABEL: Final = "(none)"
_GROUPABLE: Final = frozenset({"text", "reference", "boolean", "integer"})
_LABELS: Final = ("name", "title")
_CHUNK: Final = 500


@attrs.frozen(kw_only=True)
class Step:
    """One join on the way: the reference `field` of the type at hand leads to a record of the type `to`."""

    field: str
    to: str


@attrs.frozen(kw_only=True)
class Dimension:
    """A dimension as one base sees it: the joins that lead to the record that has it, and its column there."""

    name: str
    steps: tuple[Step, ...]
    column: str
    references: str = ""
    boolean: bool = False


def dimension(registry: Registry, base: str, name: str) -> Dimension:
    """Find a dimension by its noun: a field of the base, else of its owner's team, its deal or its customer.

    Raises:
        UsageError: there is none; the hint names those there are.
    """
    kind = registry.named(base)
    for steps, holder in _ways(registry, kind):
        if name == "team" and holder.fields.get("owner_id"):
            path = (*steps, Step(field="owner_id", to="user"))
            return Dimension(name=name, steps=path, column="team_id", references="team")
        if name == holder.name:
            return Dimension(name=name, steps=steps, column="id", references=holder.name)
        field = _field(holder, name)
        if field is not None:
            return _of_field(name, steps, field)
    raise UsageError(
        f"{kind.plural} cannot be grouped by {name!r}",
        hint=close_matches(name, dimensions(registry, base), "dimensions"),
    )


def dimensions(registry: Registry, base: str) -> list[str]:
    """Return the nouns that rows of a base can be grouped by."""
    found: dict[str, None] = {}
    for _, holder in _ways(registry, registry.named(base)):
        for path, field in holder.fields.items():
            if field.declaration.kind in _GROUPABLE and not field.declaration.personal:
                found[path.removeprefix("fields.").removesuffix("_id")] = None
        if "owner_id" in holder.fields:
            found["team"] = None
    return list(found)


def join_dimensions(
    question: Question, base: str, wanted: Sequence[Dimension], source: FromClause | None
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """Return the base (or `source`, which holds it) joined as the dimensions need, and their columns in order."""
    tables, registry = question.tables, question.crm.registry
    root = tables[registry.named(base).plural]
    joined: Any = root if source is None else source
    reached: dict[tuple[Step, ...], Any] = {(): root}
    columns = []
    for one in wanted:
        for length in range(1, len(one.steps) + 1):
            path = one.steps[:length]
            if path not in reached:
                step, before = path[-1], reached[path[:-1]]
                target = tables[registry.named(step.to).plural].alias(f"by_{'_'.join(s.field for s in path)}")
                joined = joined.outerjoin(target, target.c.id == before.c[step.field])
                reached[path] = target
        columns.append(reached[one.steps].c[one.column])
    return joined, columns


def label_groups(
    question: Question, wanted: Sequence[Dimension], groups: Iterable[tuple[Any, ...]]
) -> Mapping[tuple[Any, ...], dict[str, GroupKey]]:
    """Return, for each tuple of raw keys, the keys as shown: ids of records as text, with their names."""
    found = list(dict.fromkeys(groups))
    names = [
        _names(question, one.references, {group[at] for group in found if group[at] is not None})
        if one.references
        else {}
        for at, one in enumerate(wanted)
    ]
    return {
        group: {one.name: _key(question, one, group[at], names[at], group, wanted) for at, one in enumerate(wanted)}
        for group in found
    }


def _ways(registry: Registry, kind: RecordType) -> list[tuple[tuple[Step, ...], RecordType]]:
    ways: list[tuple[tuple[Step, ...], RecordType]] = [((), kind)]
    for field in ("deal_id", "customer_id"):
        declared = kind.fields.get(field)
        if declared is not None:
            to = declared.declaration.references
            ways.append(((Step(field=field, to=to),), registry.named(to)))
            further = registry.named(to).fields.get("customer_id") if "customer_id" not in kind.fields else None
            if further is not None:
                path = (Step(field=field, to=to), Step(field="customer_id", to="customer"))
                ways.append((path, registry.named("customer")))
    return ways


def _field(kind: RecordType, name: str) -> Field | None:
    for path in (name, f"{name}_id", f"fields.{name}"):
        field = kind.fields.get(path)
        if field is not None and field.declaration.kind in _GROUPABLE:
            return field
    return None


def _of_field(name: str, steps: tuple[Step, ...], field: Field) -> Dimension:
    declared = field.declaration
    return Dimension(
        name=name,
        steps=steps,
        column=field.column,
        references=declared.references,
        boolean=declared.kind == "boolean",
    )


def _names(question: Question, kind_name: str, ids: set[int]) -> dict[int, str]:
    kind = question.crm.registry.named(kind_name)
    table = question.tables[kind.plural]
    label = next((name for name in _LABELS if name in kind.fields), None)
    if label is None:
        return {}
    names: dict[int, str] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        rows = question.crm.run(select(table.c.id, table.c[label]).where(table.c.id.in_(chunk)))
        names.update((row[0], row[1]) for row in rows if row[1])
    return names


def _key(
    question: Question,
    one: Dimension,
    raw: Any,
    names: Mapping[int, str],
    group: tuple[Any, ...],
    wanted: Sequence[Dimension],
) -> GroupKey:
    if raw is None:
        return GroupKey(None, NONE_LABEL)
    if one.references:
        return GroupKey(format_id(raw), names.get(raw) or format_id(raw))
    if one.boolean:
        return GroupKey(bool(raw), "yes" if raw else "no")
    if one.name == "pipeline":
        pipeline = question.crm.pipelines.get(raw)
        return GroupKey(raw, pipeline.label or raw if pipeline else raw)
    if one.name == "stage":
        return GroupKey(raw, _stage_label(question, raw, group, wanted))
    return GroupKey(raw, str(raw))


def _stage_label(question: Question, raw: str, group: tuple[Any, ...], wanted: Sequence[Dimension]) -> str:
    beside = next((group[at] for at, one in enumerate(wanted) if one.name == "pipeline"), None)
    for pipeline in question.crm.pipelines.values():
        if beside in (None, pipeline.name):
            for stage in pipeline.stages:
                if stage.name == raw and stage.label:
                    label: str = stage.label
                    return label
    return raw
