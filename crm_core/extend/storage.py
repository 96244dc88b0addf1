"""The contract of a storage: what a plugin implements so that records, ledger and lists live in its database.

A storage knows tables and rows of primitives (64-bit integers, text, NULL), never records: encoding is the kernel's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import attrs

from crm_core.query.ast import Compare, Expression, SortKey
from crm_core.query.search import Hit, Question
from crm_core.records.schema import Manifest, Primitive, Row, SchemaChange

if TYPE_CHECKING:
    from sqlalchemy import Select

LEDGER_HEAD: Final = "ledger_head"
"""The table of one row, `id` 1, whose `position` is that of the last transaction."""
LEDGER_TRANSACTIONS: Final = "ledger_transactions"

Capability = Literal["execute", "search", "backup", "replace", "concurrent", "copy"]
"""What a storage may declare beyond the abstract methods: each is a method of `Storage`, but for `concurrent`.

That says that the same database may be open several times, in one process or many: each sees what others commit, and a
stale write is refused whoever the other was.
"""


@attrs.frozen
class Update:
    """A conditional write: `changes` by column go to the row `id` only while it still has `version`."""

    id: int
    version: int
    changes: Mapping[str, Primitive]


@attrs.frozen
class TableRows:
    """The rows of one table on their way into a storage: they are read once, batch by batch, `columns` in each row."""

    table: str
    columns: tuple[str, ...]
    batches: Iterable[Sequence[Row]]


@attrs.frozen
class StorageStatus:
    """What `crm storage status` shows: engine and place in words, bytes on disk, settings that matter for safety."""

    engine: str
    place: str
    size: int | None
    details: Mapping[str, str]


class Storage(ABC):
    """One open database. Used by several threads: `begin` to `commit` belong to the calling thread.

    Reads outside a transaction see what is committed, those inside what it wrote. A write outside a transaction is a
    programming error (`StorageError`), and so are `begin` inside one and the name of a table or column that is not
    there. After an error of a write the transaction is lost: reads may refuse, and `commit` rolls it back and raises
    `StorageError`. Whole rows come in the order of the manifest that was applied or is used last. Text is kept and
    compared by code point, to the last character; none has NUL or a lone surrogate. A number beyond 64 bits is in no
    row: reads compare with it, a write of one or a sum beyond them is `NumberTooLarge`. Errors are those of
    `crm_core.errors`: `DuplicateKey`, `StorageLocked`, `StorageFull`, `StorageConflict` (another transaction was in the
    way; the whole of this one may be tried again), `StorageError`.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    @abstractmethod
    def schema(self) -> Manifest | None:
        """Return the manifest the database holds, None when it is empty."""

    @abstractmethod
    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        """Carry out schema changes, store the new manifest and use it; outside a transaction of the caller.

        Changes that are there already are passed over, so that a run after a crash converges.
        """

    @abstractmethod
    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on; it differs from the stored one in the order only."""

    def upgrading(self) -> AbstractContextManager[None]:
        """Keep other processes from changing the schema while this thread does; it may begin and commit."""
        return nullcontext()

    @abstractmethod
    def begin(self, *, write: bool = True) -> None:
        """Start this thread's transaction: a writing one, or (`write=False`) one snapshot for several reads."""

    @abstractmethod
    def commit(self) -> None:
        """Make this thread's transaction durable."""

    @abstractmethod
    def rollback(self) -> None:
        """Forget this thread's transaction; without one, do nothing."""

    @abstractmethod
    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows; columns left out are NULL.

        Raises:
            DuplicateKey: a primary key or unique index is taken, `table` and `columns` say which; nothing of the call
                may be relied on, roll back.
        """

    @abstractmethod
    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update, in order, whose row still has its version; the row's version grows by one.

        Returns:
            The ids of the updates that did not apply, because the row is gone or has another version.

        Raises:
            DuplicateKey: a unique index is taken, `table` and `columns` say which.
        """

    @abstractmethod
    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; return the ids of those gone or of another version."""

    def lock(self, table: str, ids: Sequence[int]) -> None:
        """Keep others from writing these rows until this thread's transaction ends; it then reads what they hold.

        Without it, two transactions may read a row, each decide by what it says, and both write. A storage where one
        transaction writes at a time has nothing to do.
        """
        del table, ids  # nobody else writes meanwhile

    @abstractmethod
    def get_many(self, table: str, ids: Sequence[int]) -> list[Row]:
        """Return the whole rows of those ids that exist, in no particular order, columns in the table's order."""

    @abstractmethod
    def find(
        self,
        table: str,
        where: Expression | None = None,
        *,
        sort: Sequence[SortKey] = (),
        after: Sequence[Primitive] = (),
        limit: int | None = None,
        columns: Sequence[str] = (),
    ) -> list[Row]:
        """Return the rows that match, sorted by `sort` and then by id, NULLs last in both directions.

        `after` holds the sort values and the id of the last row of the page before (keyset). `columns` empty: all.
        Text sorts by code point.
        """

    @abstractmethod
    def count(self, table: str, where: Expression | None = None) -> int:
        """Return how many rows match."""

    @abstractmethod
    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        """Yield all rows in batches, in id order, in constant memory.

        Between two batches the caller may begin, write and commit; rows added since the scan began may be left out.
        """

    @abstractmethod
    def append_ledger(self, columns: Sequence[str], row: Row) -> int:
        """Write the transaction row in the last step before commit: lock the head, take the next position, insert.

        `row` lacks the position; it is written to the column `position` of `ledger_transactions` and returned. A head
        without a row is at 0.

        Raises:
            DuplicateKey: the id of the row is taken.
        """

    def append_linked(self, columns: Sequence[str], row: Row, link: Callable[[int, str | None], str]) -> int:
        """Do as `append_ledger` and write the link of the hash chain beside the row, in its column `chain`.

        `link(position, previous)` makes it of the one at the position before; None: there is none. What a storage does
        here it does while others wait for the head: one to which each statement is a way writes the row but once.
        """
        position = self.append_ledger(columns, row)
        made = link(position, self.link_before(position))
        self.put_many(LEDGER_TRANSACTIONS, [*columns, "position", "chain"], [(*row, position, made)])
        return position

    def link_before(self, position: int) -> str | None:
        """Return the link of the transaction before a position."""
        where = Compare("position", "=", position - 1)
        rows = self.find(LEDGER_TRANSACTIONS, where, columns=["chain"])
        return None if not rows or rows[0][0] is None else str(rows[0][0])

    @abstractmethod
    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole: for the ledger's tables, whose rows have no version."""

    @abstractmethod
    def status(self) -> StorageStatus:
        """Return what a person wants to know of the database."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection; open transactions are rolled back."""

    def scrub(self) -> str:
        """Make sure that what was deleted or overwritten cannot be read from the files any more, and give space back.

        Called outside a transaction, after personal data was erased. Returns, in words for a person, what may remain;
        empty when nothing does.
        """
        return "what the storage keeps of deleted rows for itself: free pages, logs, replicas"

    def execute(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select where the data is (capability `execute`)."""
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'execute'")

    def search(self, table: str, question: Question, *, after: Hit | None = None, limit: int) -> list[Hit] | None:
        """Return the rows of a table that a question finds, in the order of `Hit`, those behind `after` (`search`).

        What a row is found by is the manifest's `searched`, of the table and of those whose owner it is;
        `crm_core.query.search.rank_of` says what matches, and how well. None: not at this moment (the index is behind),
        so that the kernel reads the rows instead, which gives the same answer and takes longer.
        """
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'search'")

    def copied(self, folder: Path) -> Storage:
        """Open a copy of what is committed now, for trials nobody else sees (capability `copy`).

        Others read and write on meanwhile. What the copy needs on disk goes to `folder`, which the caller removes after
        closing it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'copy'")

    def backup(self, file: Path) -> None:
        """Write all that is committed now, of one moment, to a new file (capability `backup`); others write on."""
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'backup'")

    def opened_backup(self, file: Path) -> Storage:
        """Open what `backup` wrote, to look into it (capability `backup`); the caller closes it.

        It may change the file and write beside it, so it is given a copy that nobody needs any more.

        Raises:
            StorageError: the file is none of this storage.
        """
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'backup'")

    def restore(self, file: Path) -> None:
        """Put what `backup` wrote in the place of all this storage holds, whole or not at all (capability `backup`).

        Outside a transaction of the caller. Other processes that have the database open see the new content.
        """
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'backup'")

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        """Put tables and rows in the place of all this storage holds, whole or not at all (capability `replace`).

        Outside a transaction of the caller. `tables` is read once, in its order, in constant memory where rows are not
        kept in memory anyway; a table of the manifest that is not among them is empty, rows point at others in any
        order. Until it returns others see what was there, or wait; a snapshot that was taken before sees the old rows
        to its end, or fails with `StorageConflict`. Uses the manifest.

        Raises:
            DuplicateKey: two rows have the same id or unique key; nothing was changed, as after any error of `tables`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not declare the capability 'replace'")

    def check(self) -> list[str] | None:
        """Look for damage below tables and rows, and say in words what is found; None: this storage has no such check.

        The kernel checks what rows say (references, the ledger) by itself: see `crm_core.ledger.verify`.
        """
        return None

    def check_indexes(self) -> list[str] | None:
        """Compare what the storage keeps beside the rows, and can make of them again, with the rows: search indexes.

        Returns in words what is wrong; None: it keeps nothing of the kind, or cannot look. Backups may have such faults
        and be restored all the same, because `reindex` mends them.
        """
        return None

    def unchecked_indexes(self) -> str:
        """Say in words what of its indexes `check_indexes` does not look at; empty when it looks at all of them."""
        return ""

    def reindex(self) -> list[str]:
        """Make anew what the storage keeps beside the rows: search indexes, other indexes. Rows stay as they are.

        Outside a transaction of the caller; others wait to write meanwhile. Returns in words what was made; empty when
        it keeps nothing of the kind.

        Raises:
            DuplicateKey: a unique index cannot be made, because two rows have the same key.
            StorageError: the rows cannot be read either.
        """
        return []


@attrs.frozen(kw_only=True)
class StorageScheme:
    """What a storage plugin registers: the URL schemes it serves and how one is opened.

    `open(url, options)` connects, creating an empty database when there is none; `options` is the `[storage]` table of
    `crm.toml`. `embedded` databases belong to one workspace and are upgraded when it opens.
    """

    name: str
    schemes: tuple[str, ...]
    open: Callable[[str, Mapping[str, Any]], Storage]
    embedded: bool = False
    help: str = ""
