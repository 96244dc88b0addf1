"""The files of the storage: a snapshot of all rows, and the log of what was committed since.

A line is eight hexadecimal digits of its CRC-32, a space, JSON, a line feed. `CURRENT` names the generation in force:
`3` means `snapshot-3.jsonl` and `log-3.jsonl`. A new generation is complete on the disk before `CURRENT` names it.

The snapshot is one line with the manifest, then for each table a line `{"table", "columns", "rows"}` and a line a row.
Each line of the log is a committed transaction: a list of calls of the storage, `["insert_many", table, ...]`.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.errors import StorageError, StorageFull
from crm_core.extend import Update
from crm_core.memory import MemoryStorage
from crm_core.records.schema import AddType, Manifest

_BATCH: Final = 1_000


@attrs.define
class Place:
    """Where a reader stands: the generation it has read, and how many bytes of its log."""

    generation: int = 0
    offset: int = 0


@attrs.frozen
class Folder:
    """The folder of one storage."""

    path: Path

    @property
    def lock(self) -> Path:
        """The file on which writers queue."""
        return self.path / "lock"

    def snapshot(self, generation: int) -> Path:
        """Return the file of all rows at the start of a generation."""
        return self.path / f"snapshot-{generation}.jsonl"

    def log(self, generation: int) -> Path:
        """Return the file of what was committed since."""
        return self.path / f"log-{generation}.jsonl"

    def generation(self) -> int:
        """Return the generation in force, 0 in an empty folder.

        Raises:
            StorageError: `CURRENT` cannot be understood.
        """
        try:
            text = (self.path / "CURRENT").read_text("ascii")
            return int(text)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            raise damaged(self.path / "CURRENT", "it names no generation") from error

    def begin(self, generation: int, content: MemoryStorage) -> int:
        """Write a generation and put it in force; returns the size of its snapshot in bytes."""
        with writing(self.path):
            size = write_snapshot(self.snapshot(generation), content)
            with self.log(generation).open("wb") as log:
                os.fsync(log.fileno())
            beside = self.path / "CURRENT.new"
            with beside.open("w", encoding="ascii") as file:
                file.write(str(generation))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path)  # the files must be there before they are named
            beside.replace(self.path / "CURRENT")
            sync_folder(self.path)
        for old in (*self.path.glob("snapshot-*.jsonl"), *self.path.glob("log-*.jsonl")):
            if old not in (self.snapshot(generation), self.log(generation)):
                old.unlink(missing_ok=True)
        return size


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell the system's errors of writing in the CRM's words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"{path}: there is no room left to write; nothing of the transaction was kept",
                hint="free some space on that disk, then run the command again",
            ) from error
        raise StorageError(
            f"{path} cannot be written: {error.strerror}", hint="give yourself the right to write in that folder"
        ) from error


def line_of(content: Any) -> bytes:
    """Return the line that holds some JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def content_of(line: bytes) -> Any:
    """Return the JSON of a line; None when it is torn or damaged, which no line says of itself."""
    text = line[9:-1]
    if line[-1:] != b"\n" or line[8:9] != b" " or line[:8] != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text)


def read_log(path: Path, offset: int) -> Iterator[tuple[Any, int]]:
    """Yield each whole transaction behind an offset, and the offset behind it.

    A torn line at the end is what a crash leaves, or what another process is just writing: it was never acknowledged.

    Raises:
        StorageError: a line is damaged and others follow it.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            content = content_of(line)
            if content is None:
                # What a crash left may be written over while it is read: then the file now says something else there.
                if line.endswith(b"\n") and file.read(1) and _line_at(path, offset) == line:
                    raise damaged(path, f"the line at byte {offset:,}")
                return
            offset += len(line)
            yield content, offset


def _line_at(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.readline()


def write_snapshot(path: Path, content: MemoryStorage) -> int:
    """Write all that a storage in memory holds to a file and sync it; returns its size in bytes."""
    manifest = content.schema() or Manifest({}, {})
    with path.open("wb") as file:
        file.write(line_of(manifest.to_json()))
        for name, table in manifest.tables.items():
            file.write(line_of({"table": name, "columns": table.column_names, "rows": content.count(name)}))
            for rows in content.scan(name, table.column_names):
                file.writelines(map(line_of, rows))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def read_snapshot(path: Path) -> MemoryStorage:
    """Read a file that `write_snapshot` wrote.

    Raises:
        StorageError: it is damaged.
    """
    content = MemoryStorage()
    with path.open("rb") as file:
        manifest = Manifest.from_json(_whole(path, file.readline()))
        content.apply([AddType(table) for table in manifest.tables.values()], manifest)
        for _ in manifest.tables:
            head = _whole(path, file.readline())
            left = head["rows"]
            while left:
                rows = [tuple(_whole(path, file.readline())) for _ in range(min(_BATCH, left))]
                left -= len(rows)
                content.begin()
                content.insert_many(head["table"], head["columns"], rows)
                content.commit()
        if file.read(1):
            raise damaged(path, "it goes on behind its end")
    return content


def replay(content: MemoryStorage, calls: list[list[Any]]) -> None:
    """Carry out a transaction of the log."""
    content.begin()
    try:
        for name, *arguments in calls:
            match name:
                case "insert_many" | "put_many":
                    table, columns, rows = arguments
                    getattr(content, name)(table, columns, list(map(tuple, rows)))
                case "update_if_version":
                    table, updates = arguments
                    content.update_if_version(table, [Update(*update) for update in updates])
                case "delete":
                    table, keys = arguments
                    content.delete(table, list(map(tuple, keys)))
                case "append_ledger":
                    columns, row = arguments
                    content.append_ledger(columns, tuple(row))
        content.commit()
    except BaseException:
        content.rollback()
        raise


def sync_folder(path: Path) -> None:
    """Make names of a folder durable; Windows does so by itself."""
    if os.name == "posix":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def damaged(path: Path, what: str) -> StorageError:
    """Build the error of a file that does not say what was written to it."""
    return StorageError(f"{path} is damaged: {what}", hint="move the folder away, then: crm storage restore FILE")


def _whole(path: Path, line: bytes) -> Any:
    content = content_of(line)
    if content is None:
        raise damaged(path, f"the line {line[:40]!r}")
    return content
