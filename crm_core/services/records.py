"""The service of any record type: add, get, find, edit, delete, one atomic chunk at a time.

The services of the kernel's own types build on it and add what is particular to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Final, Generic, ParamSpec, TypeVar, cast, overload

import attrs

from crm_core.errors import InvalidValue, NotFound, UsageError
from crm_core.events import Change
from crm_core.ledger.reading import decode_rows
from crm_core.ledger.removal import Removal
from crm_core.ledger.session import Session
from crm_core.ledger.work import stale_write
from crm_core.query.ast import Expression, SortKey
from crm_core.query.page import decode_cursor, encode_cursor
from crm_core.records import Record, RecordType
from crm_core.records.schema import Row
from crm_core.services.chunk import ChunkWriter, Outcome, Refusal, Rules, Write
from crm_core.values import format_id, parse_id

if TYPE_CHECKING:
    from crm_core.query.search import Searched

R = TypeVar("R", bound=Record)
T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", bound="RecordService[Any]")
CHUNK: Final = 1_000
"""Rows of one bulk transaction: about 30 ms of write lock on SQLite."""


def retried(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Let a method that writes in one transaction do it again when the storage gave way to another one."""

    @wraps(method)
    def again(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._session.work.retried(lambda: method(self, *args, **kwargs))

    return again


@attrs.frozen
class Page(Generic[R]):
    """One page of a list: the records, and the cursor of the page after it (None: there is none)."""

    records: tuple[R, ...]
    next: str | None

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, place: int) -> R: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[R, ...]: ...

    def __getitem__(self, place: int | slice) -> R | tuple[R, ...]:
        return self.records[place]


@attrs.frozen
class Found(Page[R]):
    """One page of what a search found, best first; `matched` has, for each record, the text key that shows why."""

    matched: tuple[str, ...]


class RecordService(Generic[R]):
    """Reads and writes records of one type."""

    prepare_hook: ClassVar[str] = ""
    before_hook: ClassVar[str] = ""

    def __init__(self, session: Session, kind: RecordType) -> None:
        self.kind = kind
        self._session = session
        rules = Rules(
            normalise=self._own("_normalised"),
            refine=self._own("_refined"),
            written=self._own("_written"),
            prepare_hook=self.prepare_hook,
            before_hook=self.before_hook,
        )
        self._chunks: ChunkWriter[R] = ChunkWriter(session, kind, rules)

    # Reading

    def get(self, record_id: int | str) -> R:
        """Return one record, by its id or the 13 characters people see of it.

        Raises:
            NotFound: there is none with this id.
            UsageError: that is no id; `CRM.resolve` finds records by what else people call them.
        """
        record_id = self._id(record_id)
        found = self.get_many([record_id])
        if not found:
            told = format_id(record_id) if 0 < record_id < 2**63 else record_id
            raise NotFound(f"there is no {self.kind.name} {told}", hint=f"crm {self.kind.plural} list")
        return found[0]

    def get_many(self, ids: Sequence[int]) -> list[R]:
        """Return the records of those ids that exist, in the order of `ids`."""
        rows = {row[0]: row for row in self._session.storage.get_many(self.kind.plural, ids)}
        return self._decode([rows[one] for one in dict.fromkeys(ids) if one in rows])

    def find(
        self,
        where: str | Expression | None = None,
        *,
        sort: str = "",
        after: str | None = None,
        limit: int | None = 50,
    ) -> Page[R]:
        """Return one page of the records that match, in keyset order: no page is slower than the first.

        `where` is the filter language (`country = "DE" and not tags contains "vip"`), `sort` is `-amount,name`, `after`
        the `next` of the page before; `limit=None` returns all.

        Raises:
            UsageError: the filter, the sort order or the cursor is not understood.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"a page of {limit} records is none", hint="ask for 1 or more, or limit=None for all")
        keys = self._sort_keys(sort)
        types = {column.name: column.type for column in self.kind.table.columns}
        place = decode_cursor(after, [types[key.column] for key in keys]) if after else ()
        wanted = None if limit is None else limit + 1
        rows = self._session.storage.find(self.kind.plural, self.bind(where), sort=keys, after=place, limit=wanted)
        more = limit is not None and len(rows) > limit
        rows = rows[:limit] if more else rows
        cursor = encode_cursor(keys, rows[-1], self.kind.table.column_names) if more and rows else None
        return Page(tuple(self._decode(rows)), cursor)

    def search(self, typed: str, *, after: str | None = None, limit: int = 20) -> Found[R]:
        """Return one page of the records that have every word of `typed` in their texts, in part or whole.

        A customer's texts are the name, e-mail addresses, phone numbers and other contact points; plugins may add some
        (`searched=True`). Spelling matters as little as for text keys, and a phone number is found however it is
        written. Words of one or two characters must begin a word. First come those with a text that is the whole of
        `typed`, then those whose name begins with it, then those with words that begin with its words, then the rest;
        each by name. No page is slower than the first.

        Raises:
            UsageError: nothing is typed, this type has no searched texts, or the cursor is not understood.
        """
        if limit < 1:
            raise UsageError(f"a page of {limit} records is none", hint="ask for 1 or more")
        from crm_core.query.search import question_of
        from crm_core.services.search import decode_place, encode_place, matched_texts, places_of

        searched, storage, question = self._searched, self._session.storage, question_of(typed)
        place = decode_place(after) if after else None
        places = places_of(storage, searched, question, after=place, limit=limit + 1)
        records = self.get_many([place.id for place in places[:limit]])
        matched = matched_texts(storage, searched, question, [record.id for record in records])
        return Found(tuple(records), encode_place(places[limit - 1]) if len(places) > limit else None, tuple(matched))

    @cached_property
    def _searched(self) -> Searched:
        """What lets records be found: also what is kept for plugins that are detached."""
        from crm_core.query.search import searched_in

        found = searched_in(self._session.work.stored).get(self.kind.plural)
        if found is None:
            raise UsageError(
                f"{self.kind.plural} are not searched", hint="filter a list: --where 'name contains \"text\"'"
            )
        return found

    def iterate(self, where: str | Expression | None = None, *, batch: int = 1_000) -> Iterator[R]:
        """Yield every record that matches, page by page, in id order, in constant memory."""
        after: str | None = None
        while True:
            page = self.find(where, after=after, limit=batch)
            yield from page
            if page.next is None:
                return
            after = page.next

    def count(self, where: str | Expression | None = None) -> int:
        """Return how many records match."""
        return self._session.storage.count(self.kind.plural, self.bind(where))

    def bind(self, where: str | Expression | None) -> Expression | None:
        """Turn a filter as typed into one over columns."""
        if not isinstance(where, str):
            return where
        if not where.strip():
            return None
        # Loaded by who filters: the parser costs a tenth of what `crm customers list` takes to start.
        from crm_core.query.bind import bind
        from crm_core.query.text import parse

        session = self._session
        return bind(
            parse(where), self.kind, registry=session.registry, resolve=session.resolve, currency=session.currency
        )

    def _sort_keys(self, sort: str) -> Sequence[SortKey]:
        if not sort.strip():
            return ()
        from crm_core.query.bind import bind_sort

        return bind_sort(sort, self.kind)

    # Writing

    @retried
    def add(self, record: R, *, external: tuple[str, str] | None = None) -> R:
        """Store a new record and return it with its id and version.

        Raises:
            InvalidValue: a value breaks a rule of its field.
            Vetoed: a plugin refused it.
            DuplicateKey: a unique value or the external id is taken.
        """
        with self._session.work.transaction(f"add {self.kind.name}") as tx:
            names = None if external is None else [external]
            return _all(self._chunks.add(tx, [self._complete(record)], names))[0]

    def add_many(self, records: Iterable[R], *, externals: Iterable[tuple[str, str]] | None = None) -> list[R]:
        """Store new records in chunks, as one operation, and return them with ids and versions.

        A record that is refused ends it: the chunks before it stay, and one undo takes them back. `externals` gives
        each record its (system, external id).
        """
        stored: list[R] = []
        source, names = iter(records), None if externals is None else iter(externals)
        completes = self._own("_completed") is not None
        with self._session.work.operation(f"add {self.kind.plural}"):
            while chunk := list(islice(source, CHUNK)):
                given = None if names is None else list(islice(names, len(chunk)))
                if given is not None and len(given) < len(chunk):
                    raise UsageError("there are fewer external ids than records", hint="give each record one")
                stored += self._added([self._complete(record) for record in chunk] if completes else chunk, given)
        return stored

    @retried
    def edit(self, record: R) -> R:
        """Store the changes of a record that was read before and return it with its new version.

        Raises:
            ConflictError: somebody wrote it since it was read.
        """
        with self._session.work.transaction(f"edit {self.kind.name}") as tx:
            return _all(self._chunks.write(tx, self._edits([record])))[0]

    def edit_many(self, records: Iterable[R]) -> list[R]:
        """Store the changes of many records in chunks, as one operation."""
        stored: list[R] = []
        source = iter(records)
        with self._session.work.operation(f"edit {self.kind.plural}"):
            while chunk := list(islice(source, CHUNK)):
                stored += self._edited(chunk)
        return stored

    @retried
    def write_many(self, writes: Sequence[Write[R]]) -> Outcome[R]:
        """Write new and changed records as one atomic chunk: the refused ones are named, all others are stored.

        Nothing follows from it by itself (no sale from a won deal): what a bulk write means is the caller's to say.
        """
        with self._session.work.transaction(f"write {self.kind.plural}") as tx:
            return self._chunks.write(tx, writes)

    @retried
    def delete(self, record: R | int | str) -> None:
        """Delete a record, given as it was read or as in `get`, with its parts (contact points, tags ...).

        The ledger keeps the full image, and undo restores it.

        Raises:
            StillReferenced: other records point at it; the message counts them.
            ConflictError: it changed since it was read.
        """
        with self._session.work.transaction(f"delete {self.kind.name}") as tx:
            stored = self._as_read([record])[0] if isinstance(record, Record) else self.get(record)
            self._chunks.refuse_vetoed(tx, [Change(stored, None)])
            removal = Removal(self._session.storage, self._session.registry, self._session.work.stored)
            removal.remove(tx, self.kind, [stored.id])

    @retried
    def _added(self, records: Sequence[R], externals: Sequence[tuple[str, str]] | None) -> list[R]:
        with self._session.work.transaction() as tx:
            return _all(self._chunks.add(tx, records, externals))

    @retried
    def _edited(self, records: Sequence[R]) -> list[R]:
        with self._session.work.transaction() as tx:
            return _all(self._chunks.write(tx, self._edits(records)))

    def derived(self, record: R, before: R | None) -> R:
        """Return a record with what follows from its values, without storing it.

        Raises:
            InvalidValue: a rule refuses the values.
        """
        return self._refined([self._normalised(record, before)])[0]

    # What the services of particular types change

    def _completed(self, record: R) -> R:
        """Fill in what a single new record that is added now says by being added now."""
        return record

    def _normalised(self, record: R, before: R | None) -> R:
        """Compute derived fields; raise `InvalidValue` for what the declarations alone cannot see."""
        return record

    def _refined(self, records: Sequence[R]) -> Sequence[R]:
        """Compute, for a whole chunk, derived fields that follow from more than the record; in the order given."""
        return records

    def _written(self, pairs: Sequence[tuple[R | None, R]]) -> None:
        """Write what belongs to every change of these records, in the same transaction."""

    def _own(self, name: str) -> Any:
        """Return what a particular type's service has in the place of that method, None when it has nothing."""
        return None if getattr(type(self), name) is getattr(RecordService, name) else getattr(self, name)

    def _id(self, given: object) -> int:
        if isinstance(given, int) and not isinstance(given, bool):
            return given
        if isinstance(given, str):
            with suppress(InvalidValue):
                return parse_id(given)
        raise UsageError(
            f"{given!r} is no id of a {self.kind.name}; expected a whole number, or its 13 characters such as "
            f"{format_id(1 << 60)}",
            hint=f"crm.resolve({self.kind.name!r}, text) gives the id for a name, an e-mail address or an external id",
        )

    def _complete(self, record: R) -> R:
        try:
            return self._completed(record)
        except (AttributeError, TypeError):
            self.kind.encode(record)  # a value of a wrong type is named by its field
            raise

    def _edits(self, records: Sequence[R]) -> list[Write[R]]:
        before = self._as_read(records)
        return [Write(record=record, before=stored) for record, stored in zip(records, before, strict=True)]

    def _as_read(self, records: Sequence[R]) -> list[R]:
        """Return the records as they are stored, which is as they were read.

        Raises:
            ConflictError: one of them was written since.
            NotFound: one of them is gone.
        """
        stored = {record.id: record for record in self.get_many([record.id for record in records])}
        for record in records:
            if record.id < 1:
                raise UsageError(f"this {self.kind.name} was never stored", hint="add it first")
            if record.id not in stored:
                raise NotFound(f"there is no {self.kind.name} {format_id(record.id)}", hint="it may have been deleted")
            if stored[record.id].version != record.version:
                raise stale_write(self.kind.plural, [record.id])
        return [stored[record.id] for record in records]

    def _decode(self, rows: Sequence[Row]) -> list[R]:
        return cast("list[R]", decode_rows(self._session.storage, self.kind, rows))


def _all(outcome: Outcome[R]) -> list[R]:
    """Return all records of a chunk that must be stored whole; the error of the first refused one ends it."""
    if outcome.refused:
        raise outcome.refused[0].error
    return cast("list[R]", list(outcome.records))


__all__ = ["CHUNK", "Found", "Outcome", "Page", "RecordService", "Refusal", "Write", "retried"]
