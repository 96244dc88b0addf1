"""How one chunk of records is written: the steps from record to row, each of which may refuse some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from crm_core.errors import CrmError, DuplicateKey, InvalidValue, PluginError, UsageError, Vetoed
from crm_core.events import Change, Changing
from crm_core.ledger.session import Session
from crm_core.ledger.work import Edit, Transaction, stale_write
from crm_core.query.ast import And, Compare, Expression, In
from crm_core.records import ExternalId, Record, RecordType
from crm_core.records.schema import Index, Primitive, Row
from crm_core.services.erased import ERASED, erased_records
from crm_core.values import format_id, new_ids, text_key

R = TypeVar("R", bound=Record)
_HASH: Final = frozenset({"row_hash"})
_USUAL: Final = 100
"""Characters of an external id that need not be counted."""


@attrs.define(kw_only=True)
class Write(Generic[R]):
    """One record to be written: a new one, or the new state of `before`, the record as it was read.

    `external` is (system, id) under which the record is known elsewhere; `known` its entry when there is one already;
    `row_hash` marks the source row, so that an unchanged one is skipped next time. `handed_over` says that nobody else
    holds a new record: it receives its system values itself and not a copy of it, which a bulk write feels. So is it
    felt that this is no frozen class, which takes two and a half times as long to make.
    """

    record: R
    before: R | None = None
    external: tuple[str, str] | None = None
    known: ExternalId | None = None
    row_hash: str | None = None
    handed_over: bool = False


@attrs.frozen
class Refusal:
    """Why one write of a chunk was refused: `index` counts in the chunk."""

    index: int
    error: CrmError

    @property
    def field(self) -> str:
        """The field at fault, empty when it is the record as a whole."""
        return getattr(self.error, "field", "")

    @property
    def rule(self) -> str:
        """The rule that was broken."""
        return getattr(self.error, "rule", "") or type(self.error).__name__


@attrs.frozen
class Outcome(Generic[R]):
    """What became of a chunk: each record as stored, None where refused; `changed` says whether it was written."""

    records: tuple[R | None, ...]
    changed: tuple[bool, ...]
    refused: tuple[Refusal, ...]


@attrs.frozen(kw_only=True)
class Rules(Generic[R]):
    """What is particular to a type; None where nothing is.

    `normalise(record, before)` computes derived fields and refuses by `InvalidValue` what the declarations cannot see;
    `refine(records)` computes, of a whole chunk, those that follow from more than the record;
    `written(pairs)` writes, in the same transaction, what belongs to every change of (before, after).
    """

    normalise: Callable[[R, R | None], R] | None
    refine: Callable[[Sequence[R]], Sequence[R]] | None
    written: Callable[[Sequence[tuple[R | None, R]]], None] | None
    prepare_hook: str = ""
    before_hook: str = ""


@attrs.define
class _Pending(Generic[R]):
    """A write on its way: `record` receives the system values it will have, `row` and `before_row` all cells.

    One object for each record, which a bulk write feels; so it carries what its `Write` said.
    """

    index: int
    record: R
    before: R | None
    external: tuple[str, str] | None
    known: ExternalId | None
    row_hash: str | None
    handed_over: bool
    row: Row
    before_row: Row | None


Refused = dict[int, CrmError]


class ChunkWriter(Generic[R]):
    """Writes chunks of records of one type, inside a transaction of the caller."""

    def __init__(self, session: Session, kind: RecordType, rules: Rules[R]) -> None:
        self._session = session
        self._kind = kind
        self._rules = rules
        self._tags = session.registry.types[f"{kind.name}_tag"] if kind.tags_table else None
        self._externals = session.registry.types["external_id"]
        fields = kind.fields.values()
        self._derived = frozenset(c.name for f in fields if f.declaration.derived for c in f.codec.columns)
        self._systems: set[str] = set()
        self._references = [f for f in fields if f.declaration.references]
        self._unique = [index for index in kind.table.indexes if index.unique]
        self._at = {name: place for place, name in enumerate(kind.table.column_names)}

    def write(self, tx: Transaction, writes: Sequence[Write[R]]) -> Outcome[R]:
        """Store what can be stored and name what cannot, and why."""
        pending = [
            _Pending(index, one.record, one.before, one.external, one.known, one.row_hash, one.handed_over, (), None)
            for index, one in enumerate(writes)
        ]
        return self._written(tx, pending)

    def add(self, tx: Transaction, records: Sequence[R], externals: Sequence[tuple[str, str]] | None) -> Outcome[R]:
        """Store new records, each under its external id where there are any; as `write`, without a `Write` for each."""
        names = [None] * len(records) if externals is None else externals
        pending = [
            _Pending(index, record, None, external, None, None, False, (), None)
            for index, (record, external) in enumerate(zip(records, names, strict=True))
        ]
        return self._written(tx, pending)

    def _written(self, tx: Transaction, pending: list[_Pending[R]]) -> Outcome[R]:
        records: list[R | None] = [None] * len(pending)
        changed = [False] * len(pending)
        refused: Refused = {}
        pending = self._identified(tx, pending, refused)
        pending = self._prepared(tx, pending, refused)
        pending = self._encoded(pending, refused)
        pending = self._without_vetoed(tx, pending, refused)
        pending = self._with_references(pending, refused)
        for index in self._unique:
            pending = self._with_free_keys(index, pending, refused)
        pending = self._with_free_names(pending, refused)
        pending, unchanged = self._stored(tx, pending, refused)
        for one in pending:
            is_same = one.index in unchanged
            records[one.index] = one.before if is_same else one.record
            changed[one.index] = not is_same
        return Outcome(tuple(records), tuple(changed), tuple(Refusal(i, error) for i, error in sorted(refused.items())))

    def refuse_vetoed(self, tx: Transaction, changes: Sequence[Change[R]]) -> None:
        """Ask the plugins about changes that are made all or none.

        Raises:
            Vetoed: a plugin refuses one of them.
        """
        host, hook = self._session.host, self._rules.before_hook
        if hook and host.implements(hook):
            found = host.veto(hook, Changing(changes=tuple(changes), origin=tx.operation.origin))
            if found:
                raise vetoed(self._kind.name, [(plugin.name, veto.field, veto.reason) for plugin, veto in found])

    # What a record will be

    def _identified(self, tx: Transaction, given: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        """Give each record the system values it will have; those that a caller filled in do not count."""
        fresh = iter(new_ids(sum(one.before is None for one in given)))
        stamp, stamped = self._kind.rows.stamp, self._kind.rows.stamped
        has_rule, has_tags = self._rules.normalise is not None, self._tags is not None
        version, created_tx, updated_tx = tx.stamp
        changing: set[int] = set()
        record: Any
        for one in given:
            record, before = one.record, one.before
            try:
                if has_rule:
                    record = self._normalised(record, before)
                if has_tags and (before is not None or record.tags != ()):
                    record = self._with_tags(record, before)
                if before is None:
                    make = stamp if one.handed_over else stamped
                    made = make(record, next(fresh), version, created_tx, updated_tx)
                elif self._kind.declaration.append_only:
                    raise UsageError(f"a {self._kind.name} is written once and never edited")
                elif before.id in changing:
                    raise stale_write(self._kind.plural, [before.id])
                else:
                    changing.add(before.id)
                    made = stamped(record, before.id, before.version + 1, before.created_tx, tx.id)
            except CrmError as error:
                refused[one.index] = error
                continue
            one.record = cast(R, made)
        return self._refined(_accepted(given, refused), refused)

    def _refined(self, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        if self._rules.refine is None:
            return pending
        try:
            records = self._rules.refine([one.record for one in pending])
        except PluginError as error:
            return _refuse_all(pending, error, refused)
        for one, record in zip(pending, records, strict=True):
            one.record = record
        return pending

    def _normalised(self, record: R, before: R | None) -> R:
        normalise = self._rules.normalise
        try:
            return record if normalise is None else normalise(record, before)
        except (AttributeError, TypeError):
            self._kind.encode(record)  # a value of a wrong type is named by its field
            raise

    def _with_tags(self, record: R, before: R | None) -> R:
        """Check the tags and put them in the order in which they are stored: those that stay, then the new ones."""
        given, old = self._tags_of(record), self._tags_of(before)
        if given == old:
            return record
        if not isinstance(given, (tuple, list, set, frozenset)):
            raise InvalidValue(f"tags: {given!r} is not a tuple of texts", field="tags", value=given, rule="type")
        fresh = [tag for tag in dict.fromkeys(given) if tag not in old]
        for tag in fresh:
            try:
                cast(RecordType, self._tags).fields["tag"].codec.encode(tag)
            except InvalidValue as error:
                message = f"tags: {error.message.removeprefix('tag: ')}"
                raise InvalidValue(message, field="tags", value=tag, rule=error.rule) from error
        ordered = (*(tag for tag in old if tag in given), *fresh)
        changes: dict[str, Any] = {"tags": ordered}
        return record if given == ordered else record.evolve(**changes)

    def _prepared(self, tx: Transaction, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        host, hook = self._session.host, self._rules.prepare_hook
        if not hook or not pending or not host.implements(hook):
            return pending
        try:
            answers = host.derive(hook, self._changing(tx, pending))
        except PluginError as error:
            return _refuse_all(pending, error, refused)
        for _, derived in answers:
            one = pending[derived.index]
            one.record = one.record.with_ext(derived.values)
        return pending

    def _encoded(self, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        encode = self._kind.rows.encode
        for one in pending:
            try:
                one.row = encode(one.record)
                if one.before is not None:
                    one.before_row = self._row_before(one.before)
            except CrmError as error:
                refused[one.index] = error
        return _accepted(pending, refused)

    def _row_before(self, before: R) -> Row:
        try:
            return self._kind.encode(before)
        except InvalidValue:  # stored when other rules held: what is in the storage counts
            rows = self._session.storage.get_many(self._kind.plural, [before.id])
            if not rows or rows[0][1] != before.version:
                raise stale_write(self._kind.plural, [before.id]) from None
            return rows[0][: len(self._at)]

    # What is refused

    def _changing(self, tx: Transaction, pending: Sequence[_Pending[R]]) -> Changing[R]:
        changes = tuple(Change(one.before, one.record) for one in pending)
        return Changing(changes=changes, origin=tx.operation.origin)

    def _without_vetoed(self, tx: Transaction, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        host, hook = self._session.host, self._rules.before_hook
        if not hook or not pending or not host.implements(hook):
            return pending
        try:
            answers = host.veto(hook, self._changing(tx, pending))
        except PluginError as error:
            return _refuse_all(pending, error, refused)
        reasons: dict[int, list[tuple[str, str, str]]] = {}
        for plugin, veto in answers:
            reasons.setdefault(veto.index, []).append((plugin.name, veto.field, veto.reason))
        for place, given in reasons.items():
            refused[pending[place].index] = vetoed(self._kind.name, given)
        return [one for place, one in enumerate(pending) if place not in reasons]

    def _with_references(self, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        """Refuse what points at a record that does not exist; one query per referenced type."""
        for field in self._references:
            place = self._at[field.column]
            pointing = [one for one in pending if one.row[place] is not None and _differs(one, place)]
            if not pointing:
                continue
            target = self._session.registry.types[field.declaration.references]
            wanted = In("id", tuple(sorted({cast(int, one.row[place]) for one in pointing})))
            there = {row[0] for row in self._session.storage.find(target.plural, wanted, columns=["id"])}
            for one in pointing:
                value = cast(int, one.row[place])
                if value not in there:
                    message = f"{field.path}: there is no {target.name} {format_id(value)}"
                    error = InvalidValue(message, field=field.path, value=value, rule="reference")
                    refused.setdefault(one.index, error)
        return _accepted(pending, refused)

    def _with_free_keys(self, index: Index, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        """Refuse values of a unique index that are taken, in the storage or earlier in the chunk."""
        places = [self._at[column] for column in index.columns]
        keyed = [(one, tuple(one.row[place] for place in places)) for one in pending]
        wanted = [(one, key) for one, key in keyed if None not in key and any(_differs(one, p) for p in places)]
        if not wanted:
            return pending
        parts = [
            In(column, tuple(sorted({cast(Any, key[number]) for _, key in wanted})))
            for number, column in enumerate(index.columns)
        ]
        rows = self._session.storage.find(self._kind.plural, And(tuple(parts)), columns=["id", *index.columns])
        holders = {row[1:]: row[0] for row in rows}
        for one, key in wanted:
            holder = holders.setdefault(key, one.row[0])
            if holder != one.row[0]:
                told = ", ".join(f"{column} {value!r}" for column, value in zip(index.columns, key, strict=True))
                taken = f"{told} is taken by {self._kind.name} {format_id(cast(int, holder))}"
                refused[one.index] = DuplicateKey(taken, table=self._kind.plural, columns=index.columns)
        return _accepted(pending, refused)

    def _with_free_names(self, pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
        """Refuse external ids that are no text, or name another record, or one that was deleted."""
        named = [(one, one.external) for one in pending if one.external and one.known is None]
        if not named:
            return pending
        plain = self._are_plain([external for _, external in named])
        if not plain:
            named = [(one, external) for one, external in named if self._is_name(one, external, refused)]
        holders = self._holders([external for _, external in named])
        for one, external in named if holders or not plain else ():
            holder, state = holders.setdefault(external, (one.row[0], "live"))
            if holder != one.row[0] or state != "live":
                what = f"{self._kind.name} {format_id(cast(int, holder))}"
                told = f"is taken by {what}" if state == "live" else f"names {what}, which was {state}"
                message = f"the external id {':'.join(external)} {told}"
                refused[one.index] = DuplicateKey(message, table=self._externals.plural, columns=("system", "external"))
        return _accepted(pending, refused)

    def _are_plain(self, names: Sequence[tuple[str, str]]) -> bool:
        """Whether names, each once, are ASCII texts of a usual length: no rule has anything against them."""
        try:
            text = "".join(external for _, external in names)
        except TypeError:  # told of each name
            return False
        known = all(system in self._systems for system in {system for system, _ in names})
        usual = text.isascii() and "\0" not in text and all(0 < len(name.strip()) <= _USUAL for _, name in names)
        return known and usual and len(set(names)) == len(names)

    def _is_name(self, one: _Pending[R], name: tuple[str, str], refused: Refused) -> bool:
        """Refuse a record whose external id is none: before it is looked up, which a storage may not be able to."""
        try:
            if name[0] not in self._systems:
                self._externals.fields["system"].codec.encode(name[0])
                self._systems.add(name[0])
            self._externals.fields["external"].codec.encode(name[1])
        except CrmError as error:
            refused[one.index] = error
            return False
        return True

    def _holders(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[Primitive, Primitive], tuple[Primitive, Primitive]]:
        """Return (record id, state) by (system, external id), of those names that are known."""
        parts: list[Expression] = [Compare("record_type", "=", self._kind.name)]
        for column, values in (("system", {name[0] for name in names}), ("external", {name[1] for name in names})):
            parts.append(In(column, tuple(sorted(value for value in values if isinstance(value, str)))))
        columns = ["system", "external", "record_id", "state"]
        rows = self._session.storage.find(self._externals.plural, And(tuple(parts)), columns=columns)
        found: dict[tuple[Primitive, Primitive], tuple[Primitive, Primitive]]
        found = {(row[0], row[1]): (row[2], row[3]) for row in rows}
        missing = [name for name in names if name not in found]
        erased = erased_records(self._session.storage, self._kind.name, missing)
        return {**found, **{name: (record_id, ERASED) for name, record_id in erased.items()}}

    # What is stored

    def _stored(
        self, tx: Transaction, pending: list[_Pending[R]], refused: Refused
    ) -> tuple[list[_Pending[R]], set[int]]:
        """Write the rows and what belongs to them; returns what is stored, and the indexes of what was so before."""
        table = self._kind.table
        tx.insert(table, [one.row for one in pending if one.before_row is None])
        edited = [one for one in pending if one.before_row is not None]
        edits = {one.index: edit for one in edited if (edit := self._edit(one)) is not None}
        stale = set(tx.try_update(table, list(edits.values())))
        if stale:
            late = [one for one in edited if one.index in edits and one.row[0] in stale]
            refused.update({one.index: stale_write(self._kind.plural, [one.record.id]) for one in late})
            pending = _accepted(pending, refused)
        unchanged = {one.index for one in edited if one.index not in edits}
        changed = [one for one in pending if one.index not in unchanged] if unchanged else pending
        self._store_tags(tx, changed)
        self._store_external_ids(tx, pending)
        if changed and self._rules.written is not None:
            self._rules.written([(one.before, one.record) for one in changed])
        return pending, unchanged

    def _edit(self, one: _Pending[R]) -> Edit | None:
        """Return what changes of a stored row, None when nothing does or it is new; tags alone raise the version."""
        if one.before_row is None:
            return None
        cells = zip(self._at, one.before_row, one.row, strict=True)
        changes = {name: new for name, old, new in list(cells)[4:] if old != new}
        old, new = self._tags_of(one.before), self._tags_of(one.record)
        if not changes and old == new:
            return None
        return Edit(one.before_row, changes, self._derived, {} if old == new else {"tags": (old, new)})

    def _tags_of(self, record: R | None) -> tuple[str, ...]:
        found: tuple[str, ...] = () if self._tags is None else getattr(record, "tags", ())
        return found

    def _store_tags(self, tx: Transaction, changed: Sequence[_Pending[R]]) -> None:
        if self._tags is None:
            return
        table = self._tags.table
        gone: set[tuple[Primitive, Primitive]] = set()
        fresh: list[tuple[Primitive, str]] = []
        record: Any
        for one in changed:
            record, old = one.record, self._tags_of(one.before)
            if (new := record.tags) != old:
                gone |= {(one.row[0], tag) for tag in old if tag not in new}
                fresh += [(one.row[0], tag) for tag in new if tag not in old]
        if gone:
            owners = tuple({cast(int, owner) for owner, _ in gone})
            rows = self._session.storage.find(table.name, In(table.column_names[4], owners))
            tx.delete(table, [row for row in rows if (row[4], row[5]) in gone])
        ids = new_ids(len(fresh))
        tx.insert(
            table, [(i, *tx.stamp, owner, tag, text_key(tag)) for i, (owner, tag) in zip(ids, fresh, strict=True)]
        )

    def _store_external_ids(self, tx: Transaction, pending: Sequence[_Pending[R]]) -> None:
        named = [one for one in pending if one.external is not None]
        if not named:
            return
        kind = self._externals
        tx.insert(kind.table, list(self._new_names(tx, [one for one in named if one.known is None])))
        edits = []
        for one in named:
            known = one.known
            if known is not None:
                now: Mapping[str, Primitive] = {
                    "record_id": one.row[0],
                    "state": "live",
                    "row_hash": one.row_hash,
                }
                changes = {name: value for name, value in now.items() if getattr(known, name) != value}
                if changes:
                    edits.append(Edit(kind.encode(known), changes, _HASH))
        tx.update(kind.table, edits)

    def _new_names(self, tx: Transaction, named: Sequence[_Pending[R]]) -> Iterator[Row]:
        stamp, name = tx.stamp, self._kind.name
        for new_id, one in zip(new_ids(len(named)), named, strict=True):
            system, external = cast("tuple[str, str]", one.external)
            yield (new_id, *stamp, name, system, external, one.row[0], "live", one.row_hash)


def vetoed(type_name: str, reasons: Sequence[tuple[str, str, str]]) -> Vetoed:
    """Build the error of a change that plugins refused."""
    told = "; ".join(f"{plugin}: {field + ': ' if field else ''}{reason}" for plugin, field, reason in reasons)
    return Vetoed(f"the {type_name} was refused by {told}", reasons=reasons)


def _refuse_all(pending: Sequence[_Pending[R]], error: PluginError, refused: Refused) -> list[_Pending[R]]:
    """Refuse a whole chunk: a plugin that failed may have had something against any of it."""
    refused.update({one.index: error for one in pending})
    return []


def _accepted(pending: list[_Pending[R]], refused: Refused) -> list[_Pending[R]]:
    return [one for one in pending if one.index not in refused] if refused else pending


def _differs(one: _Pending[Any], place: int) -> bool:
    return one.before_row is None or one.before_row[place] != one.row[place]


__all__ = ["ChunkWriter", "Outcome", "Refusal", "Rules", "Write", "vetoed"]
