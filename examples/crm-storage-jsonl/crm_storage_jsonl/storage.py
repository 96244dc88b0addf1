"""The contract of a storage over JSON lines: rows are in memory, every commit is one line of a log that is synced.

What is in memory is `crm_core.memory`, the kernel's tables of dicts: filters, sort orders, unique keys and snapshots
are its. What is here is what makes them last: the log, its compaction, and several processes on one folder.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from crm_core.errors import StorageError
from crm_core.extend import Capability, Storage, StorageStatus, TableRows, Update
from crm_core.memory import MemoryStorage
from crm_core.query.ast import Expression, SortKey
from crm_core.records.schema import Manifest, Primitive, Row, SchemaChange
from crm_storage_jsonl.files import (
    Folder,
    Place,
    damaged,
    line_of,
    read_log,
    read_snapshot,
    replay,
    write_snapshot,
    writing,
)
from crm_storage_jsonl.lock import WriterLock

_log = logging.getLogger("crm_storage_jsonl")
_SMALL: Final = 1 << 20
"""A log below this size is not worth compacting."""

T = TypeVar("T")


class _Transaction:
    """What one thread is in: the content it reads and, when it writes, the calls that its line of the log will hold."""

    def __init__(self, content: MemoryStorage, write: bool) -> None:
        self.content = content
        self.write = write
        self.calls: list[list[Any]] = []
        self.failed = False


class JsonlStorage(Storage):
    """A folder of JSON lines. One writer at a time; readers see the last commit of any process and never wait."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"concurrent", "copy", "backup", "replace"})

    def __init__(self, path: Path, *, timeout: float = 30.0, mirrors: Path | None = None) -> None:
        """Open a folder; `mirrors` is a backup file that is to hold, after closing, what the folder then holds."""
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        self._folder = Folder(path)
        self._lock = WriterLock(self._folder.lock, timeout)
        self._catching_up = threading.RLock()
        self._local = threading.local()
        self._place = Place()
        self._size = 0
        self._content = MemoryStorage()
        self._manifest: Manifest | None = None
        self._used: Manifest | None = None
        self._mirrors = mirrors
        self._closed = False
        self._catch_up()

    # -- schema ------------------------------------------------------------------------------------------------------

    def schema(self) -> Manifest | None:
        """Return the manifest of the generation in force."""
        self._catch_up()
        return self._manifest

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        """Change a copy in memory and begin a new generation with it: there is no moment between old and new."""
        if self._transaction() is not None:
            raise StorageError("the schema cannot be changed inside a transaction", hint="commit or roll back first")
        with self.upgrading():
            content = self._read()
            content.apply(changes, manifest)
            before, self._used = self._used, manifest
            try:
                self._begin_generation(content)
            except BaseException:
                self._used = before
                raise

    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on."""
        self._used = manifest
        self._content.use(manifest)

    @contextmanager
    def upgrading(self) -> Iterator[None]:
        """Hold the lock, so that nobody else writes meanwhile."""
        self._lock.acquire()
        try:
            self._catch_up(writer=True)
            yield
        finally:
            self._lock.release()

    # -- transactions ------------------------------------------------------------------------------------------------

    def begin(self, *, write: bool = True) -> None:
        """Start this thread's transaction; a writing one waits for the lock and first reads what others wrote."""
        if self._transaction() is not None:
            raise StorageError("this thread is in a transaction already", hint="commit or roll back first")
        if write:
            self._lock.acquire()
        try:
            self._catch_up(writer=write)
            self._content.begin(write=write)
        except BaseException:
            if write:
                self._lock.release()
            raise
        self._local.transaction = _Transaction(self._content, write)

    def commit(self) -> None:
        """Write the transaction's line to the log and sync it, then show it to everybody."""
        transaction = self._transaction()
        if transaction is None:
            raise StorageError("there is no transaction to commit", hint="begin one first")
        if transaction.failed:
            self.rollback()
            raise StorageError(
                "a write of this transaction failed; it was rolled back", hint="do the whole of it again"
            )
        try:
            if transaction.calls:
                self._append(line_of(transaction.calls))
        except BaseException:
            self.rollback()
            raise
        transaction.content.commit()
        try:
            if transaction.write and self._place.offset > max(_SMALL, 2 * self._size):
                self._compact()
        finally:
            self._end(transaction)

    def rollback(self) -> None:
        """Forget this thread's transaction; without one, do nothing."""
        transaction = self._transaction()
        if transaction is not None:
            try:
                transaction.content.rollback()
            finally:
                self._end(transaction)

    # -- writes ------------------------------------------------------------------------------------------------------

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows."""
        self._write(
            lambda content: content.insert_many(table, columns, rows), "insert_many", table, list(columns), list(rows)
        )

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole."""
        self._write(
            lambda content: content.put_many(table, columns, rows), "put_many", table, list(columns), list(rows)
        )

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update whose row still has its version; return the ids of the others."""
        told = [(update.id, update.version, dict(update.changes)) for update in updates]
        return self._write(lambda content: content.update_if_version(table, updates), "update_if_version", table, told)

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; return the ids of those gone or of another version."""
        return self._write(lambda content: content.delete(table, keys), "delete", table, list(keys))

    def append_ledger(self, columns: Sequence[str], row: Row) -> int:
        """Move the head and insert the transaction row at its position."""
        return self._write(lambda content: content.append_ledger(columns, row), "append_ledger", list(columns), row)

    # -- reads -------------------------------------------------------------------------------------------------------

    def get_many(self, table: str, ids: Sequence[int]) -> list[Row]:
        """Return the whole rows of those ids that exist."""
        return self._reading().get_many(table, ids)

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
        """Return the rows that match, a page at a time."""
        return self._reading().find(table, where, sort=sort, after=after, limit=limit, columns=columns)

    def count(self, table: str, where: Expression | None = None) -> int:
        """Return how many rows match."""
        return self._reading().count(table, where)

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        """Yield all rows in batches, in id order."""
        yield from self._reading().scan(table, columns, batch=batch)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def status(self) -> StorageStatus:
        """Return the folder, its size on disk, and how much of it is log."""
        self._catch_up()
        files = [self._folder.snapshot(self._place.generation), self._folder.log(self._place.generation)]
        details = {
            "generation": str(self._place.generation),
            "log": f"{self._place.offset} bytes",
            "synced": "each commit",
        }
        size = sum(file.stat().st_size for file in files if file.exists())
        return StorageStatus(engine="JSON lines", place=str(self._folder.path), size=size, details=details)

    def scrub(self) -> str:
        """Begin a new generation of files, in which there is nothing of what was deleted; the old ones are removed."""
        with self.upgrading():
            try:
                self._begin_generation(self._read())
            except StorageError as error:
                return f"the log of what was written before, which could not be replaced: {error.message}"
        return ""

    def copied(self, folder: Path) -> Storage:
        """Copy what is committed now into memory; it needs nothing on disk."""
        self._catch_up()
        return self._content.copied(folder)

    def backup(self, file: Path) -> None:
        """Write what is committed now as one snapshot; others write on meanwhile."""
        content = self._read()
        with writing(file):
            write_snapshot(file, content)

    def opened_backup(self, file: Path) -> Storage:
        """Open a snapshot as a folder of its own beside it."""
        folder = Folder(file.with_name(f"{file.name}-opened"))
        folder.path.mkdir()
        folder.begin(1, read_snapshot(file))
        return JsonlStorage(folder.path, mirrors=file)

    def restore(self, file: Path) -> None:
        """Begin a new generation with the content of a snapshot."""
        if self._transaction() is not None:
            raise StorageError("nothing can be restored inside a transaction", hint="commit or roll back first")
        self._begin_with(read_snapshot(file))

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        """Begin a new generation with other tables and rows."""
        if self._transaction() is not None:
            raise StorageError("nothing can be replaced inside a transaction", hint="commit or roll back first")
        content = MemoryStorage()
        content.replace(manifest, tables)
        self._begin_with(content)

    def check(self) -> list[str]:
        """Read the files again, line by line."""
        try:
            self._read()
        except StorageError as error:
            return [error.message]
        return []

    def close(self) -> None:
        """Forget what is in memory; an open transaction is rolled back."""
        if not self._closed:
            self.rollback()
            if self._mirrors is not None:
                write_snapshot(self._mirrors, self._read())
            self._closed = True
            self._content.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _transaction(self) -> _Transaction | None:
        if self._closed:
            raise StorageError(f"{self._folder.path} is closed")
        found: _Transaction | None = getattr(self._local, "transaction", None)
        return found

    def _transaction_content(self) -> MemoryStorage:
        transaction = self._transaction()
        return self._content if transaction is None else transaction.content

    def _reading(self) -> MemoryStorage:
        """Return what this thread sees: its transaction, else what any process has committed."""
        if self._transaction() is None:
            self._catch_up()
        return self._transaction_content()

    def _write(self, action: Callable[[MemoryStorage], T], *call: Any) -> T:
        transaction = self._transaction()
        if transaction is None or not transaction.write:
            raise StorageError("a write outside a writing transaction", hint="begin one first")
        try:
            found = action(transaction.content)
        except BaseException:
            transaction.failed = True
            raise
        transaction.calls.append(list(call))
        return found

    def _end(self, transaction: _Transaction) -> None:
        self._local.transaction = None
        if transaction.write:
            self._lock.release()

    def _append(self, line: bytes) -> None:
        """Write a line behind the last whole one: what a crash left there is overwritten."""
        with writing(self._folder.path), self._folder.log(self._place.generation).open("r+b") as log:
            log.truncate(self._place.offset)
            log.seek(self._place.offset)
            try:
                log.write(line)
                log.flush()
                os.fsync(log.fileno())
            except BaseException:
                log.truncate(self._place.offset)  # refused half of the line: not even a reader may meet it
                raise
        self._place.offset += len(line)

    def _catch_up(self, *, writer: bool = False) -> None:
        """Take in what other processes committed, outside of this thread's transactions.

        While another thread of this process writes, there is nothing to take in: nobody else can have committed.
        """
        if self._transaction() is not None:
            return
        with self._catching_up:
            if writer or not self._lock.held:
                self._take_in()

    def _take_in(self) -> None:
        generation = self._folder.generation()
        try:
            if generation != self._place.generation:
                self._load(generation)
            elif generation and self._folder.log(generation).stat().st_size > self._place.offset:
                for calls, offset in read_log(self._folder.log(generation), self._place.offset):
                    replay(self._content, calls)
                    self._place.offset = offset
        except FileNotFoundError:  # another process has begun a new generation just now
            self._load(self._folder.generation())

    def _load(self, generation: int) -> None:
        content, place = self._read_generation(generation)
        self._manifest = content.schema()
        if self._used is not None:
            content.use(self._used)
        self._content, self._place = content, place
        self._size = self._folder.snapshot(generation).stat().st_size

    def _read(self) -> MemoryStorage:
        """Read the files as they are, in the order of the stored manifest."""
        generation = self._folder.generation()
        return self._read_generation(generation)[0] if generation else MemoryStorage()

    def _read_generation(self, generation: int) -> tuple[MemoryStorage, Place]:
        try:
            content = read_snapshot(self._folder.snapshot(generation))
            place = Place(generation)
            for calls, offset in read_log(self._folder.log(generation), 0):
                replay(content, calls)
                place.offset = offset
        except OSError as error:
            if self._folder.generation() != generation:  # replaced while it was read
                return self._read_generation(self._folder.generation())
            raise damaged(self._folder.path, f"generation {generation} is not there") from error
        return content, place

    def _begin_with(self, content: MemoryStorage) -> None:
        self._used = None
        with self.upgrading():
            self._begin_generation(content)

    def _begin_generation(self, content: MemoryStorage) -> None:
        with self._catching_up:
            self._folder.begin(self._folder.generation() + 1, content)
            self._load(self._folder.generation())

    def _compact(self) -> None:
        """Begin a new generation with what is committed; without room for it, the log just grows on."""
        try:
            self._begin_generation(self._read())
        except StorageError as error:
            _log.warning("%s: the log could not be compacted: %s", self._folder.path, error)
