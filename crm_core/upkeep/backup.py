"""Backups of a workspace's database as one file each: written while others work, checked before they are put back.

The file is a first line (its kind and the digest of what follows), a line of JSON (what is inside, with digests), and
the storage's own copy. So a flipped byte anywhere is noticed before anything is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final, Literal

import attrs

from crm_core import __version__
from crm_core.crm import opened_storage
from crm_core.errors import CrmError, StorageError, UsageError
from crm_core.extend import Storage
from crm_core.ledger.evolution import check_not_newer, merged_manifest, same_but_order
from crm_core.ledger.tables import CURSORS, HEAD, JOBS, LEDGER_TABLES, TRANSACTIONS
from crm_core.ledger.verify import verify
from crm_core.records import Registry
from crm_core.records.schema import Manifest, Row, Table
from crm_core.services.workspace import registry_of
from crm_core.values import SystemClock

Start = Literal["head", "gap"]
_KIND: Final = "crm-backup 1"
_BLOCK: Final = 1 << 20
_LEASED: Final = (CURSORS.name, JOBS.name)
"""Tables of who is at work where, which a restore resets."""
_LONGEST_MANIFEST: Final = 64 << 20


@attrs.frozen(kw_only=True)
class BackupInfo:
    """What a backup says of itself: when and by which kernel and engine, rows and digests by table, and its copy's.

    `position` is that of the ledger's head.
    """

    made_at: str
    kernel: str
    engine: str
    position: int
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class RestoreReport:
    """What a restore did, or (dry run) would do.

    `waiting` counts, by `plugin.hook`, the transactions that were not delivered when the backup was made; `replaced`
    the rows that the database held before; `older` says whether the schema must be upgraded before use.
    """

    backup: BackupInfo
    replaced: int
    waiting: Mapping[str, int]
    older: bool
    dry_run: bool


def back_up(url_or_dir: str | Path, file: Path) -> BackupInfo:
    """Write a backup of a workspace's database to a new file; others read and write on meanwhile.

    Raises:
        UsageError: the file is there already.
        StorageError: the storage has no backup of its own, or the file cannot be written.
    """
    if file.exists():
        raise UsageError(f"{file} is already there", hint="name a new file, or move that one away")
    _, _, storage = opened_storage(url_or_dir)
    try:
        _require(storage)
        if storage.schema() is None:
            raise StorageError("the database is empty: there is nothing to back up")
        with _writing(file), TemporaryDirectory(prefix=".crm-backup-", dir=file.absolute().parent) as folder:
            copy = Path(folder, "copy")
            storage.backup(copy)
            info = _described(storage, copy)
            _assemble(info, copy, file)
            return info
    finally:
        storage.close()


def restore(
    url_or_dir: str | Path, file: Path, *, start: Start | None = None, force: bool = False, dry_run: bool = False
) -> RestoreReport:
    """Check a backup, then put it in the place of all that a workspace's database holds, whole or not at all.

    Args:
        url_or_dir: the workspace, or the URL of its storage.
        file: what `back_up` wrote.
        start: where subscribers go on that had not been told of everything: "gap" tells them what was waiting when the
            backup was made (which may have been delivered after it), "head" does not.
        force: overwrite a database that holds something.
        dry_run: check everything, and change nothing.

    Raises:
        UsageError: the database holds something and `force` is not given; or transactions wait and `start` is missing.
        StorageError: the file is no backup, is damaged, or is one of another storage.
        NewerDatabase: a newer version wrote it.
    """
    settings, host, storage = opened_storage(url_or_dir)
    try:
        _require(storage)
        registry = registry_of(settings, host)
        with TemporaryDirectory(prefix=".crm-restore-", dir=settings.directory) as folder:
            copy = Path(folder, "copy")
            info = _extracted(file, copy)
            inside = storage.opened_backup(copy)
            try:
                older = _examined(inside, info, registry, file)
                waiting = _waiting(inside)
                held = 0 if storage.schema() is None else _held(storage)
                if not dry_run:
                    _refuse(held, waiting, start, force)
                    _release(inside, start)
            finally:
                inside.close()
            if not dry_run:
                storage.restore(copy)
                _compare(storage, info, "the restored database")
        return RestoreReport(backup=info, replaced=held, waiting=waiting, older=older, dry_run=dry_run)
    finally:
        storage.close()


def _require(storage: Storage) -> None:
    if "backup" not in storage.capabilities:
        engine = storage.status().engine
        raise StorageError(
            f"{engine} has no backup through crm",
            hint="use that database's own tool: pg_dump for PostgreSQL, mariadb-dump for MariaDB",
        )


def _described(storage: Storage, copy: Path) -> BackupInfo:
    """Look into a copy: opening it may still change its bytes, so its own digest is taken last."""
    inside = storage.opened_backup(copy)
    try:
        rows, digests = _content(inside)
        heads = inside.get_many(HEAD.name, [1]) if HEAD.name in rows else []
        position = int(heads[0][1] or 0) if heads else 0
    finally:
        inside.close()
    digest = hashlib.sha256()
    with copy.open("rb") as stream:
        for block in _blocks(stream):
            digest.update(block)
    return BackupInfo(
        made_at=SystemClock().now().isoformat(timespec="seconds"),
        kernel=__version__,
        engine=storage.status().engine,
        position=position,
        rows=rows,
        digests=digests,
        size=copy.stat().st_size,
        sha256=digest.hexdigest(),
    )


def _content(storage: Storage) -> tuple[dict[str, int], dict[str, str]]:
    """Count the rows of each table and digest their cells, columns in the order of their names."""
    manifest = storage.schema() or Manifest({}, {})
    storage.use(manifest)
    rows, digests = {}, {}
    for name, table in sorted(manifest.tables.items()):
        digest, count = hashlib.sha256(), 0
        for batch in storage.scan(name, sorted(table.column_names)):
            count += len(batch)
            digest.update(json.dumps(batch, separators=(",", ":"))[1:-1].encode() + b",")
        rows[name], digests[name] = count, digest.hexdigest()
    return rows, digests


def _assemble(info: BackupInfo, copy: Path, file: Path) -> None:
    """Write the file beside its place and give it its name when all of it is on the disk."""
    manifest = json.dumps(attrs.asdict(info), ensure_ascii=False).encode()
    beside = copy.with_name("whole")
    with beside.open("wb") as target, copy.open("rb") as source:
        target.write(f"{_KIND} {hashlib.sha256(manifest).hexdigest()}\n".encode() + manifest + b"\n")
        for block in _blocks(source):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    beside.rename(file)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(file.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _extracted(file: Path, copy: Path) -> BackupInfo:
    """Take the storage's copy out of a backup and check every byte on the way.

    Raises:
        StorageError: the file cannot be read, is no backup, or is damaged.
    """
    try:
        with file.open("rb") as source, copy.open("wb") as target:
            info = _first_lines(source, file)
            digest, size = hashlib.sha256(), 0
            for block in _blocks(source):
                digest.update(block)
                size += len(block)
                target.write(block)
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}", hint="name a file that backup wrote") from error
    if (size, digest.hexdigest()) != (info.size, info.sha256):
        what = f"{size:,} bytes, not {info.size:,}" if size != info.size else "another digest than it says"
        raise _damaged(file, f"its copy of the database has {what}")
    return info


def _first_lines(source: IO[bytes], file: Path) -> BackupInfo:
    first, manifest = source.readline(200), source.readline(_LONGEST_MANIFEST)
    if not first.startswith(_KIND.split()[0].encode()):
        raise StorageError(f"{file} is no backup", hint="name a file that `crm storage backup` wrote")
    if first != f"{_KIND} {hashlib.sha256(manifest[:-1]).hexdigest()}\n".encode() or manifest[-1:] != b"\n":
        raise _damaged(file, "its first lines do not agree")
    return BackupInfo(**json.loads(manifest))


def _damaged(file: Path, what: str) -> StorageError:
    return StorageError(f"{file} is damaged: {what}; nothing was changed", hint="take an older backup")


def _examined(inside: Storage, info: BackupInfo, registry: Registry, file: Path) -> bool:
    """Check what a copy holds; returns whether its schema is older than what is declared."""
    wanted, schema = registry.manifest(LEDGER_TABLES), inside.schema()
    check_not_newer(schema, wanted)
    target = merged_manifest(schema, wanted)
    _compare(inside, info, str(file))
    if wrong := [fault for check in verify(inside, registry) if check.state == "wrong" for fault in check.faults]:
        raise StorageError(
            f"{file} holds a database that is wrong in itself: {wrong[0]}"
            + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
            hint="take an older backup",
        )
    return schema is None or not same_but_order(schema, target)


def _compare(storage: Storage, info: BackupInfo, where: str) -> None:
    """Compare what a storage holds with the digests; the cursors may have been moved on purpose."""
    rows, digests = _content(storage)
    for name in sorted(rows.keys() | info.rows.keys()):
        if name not in _LEASED and (rows.get(name), digests.get(name)) != (
            info.rows.get(name),
            info.digests.get(name),
        ):
            raise StorageError(
                f"{where}: {name} has {rows.get(name)} rows and not what the backup says, {info.rows.get(name)} rows",
                hint="take another backup, and run crm storage verify",
            )


def _held(storage: Storage) -> int:
    """Count the records and transactions that would be lost."""
    manifest = storage.schema() or Manifest({}, {})
    storage.use(manifest)
    own = {table.name for table in LEDGER_TABLES if table is not TRANSACTIONS}
    return sum(storage.count(name) for name in manifest.tables if name not in own)


def _waiting(inside: Storage) -> dict[str, int]:
    if CURSORS.name not in (inside.schema() or Manifest({}, {})).tables:
        return {}
    heads = inside.get_many(HEAD.name, [1])
    head = int(heads[0][1] or 0) if heads else 0
    rows = inside.find(CURSORS.name, columns=["plugin", "hook", "position"])
    return {f"{plugin}.{hook}": head - int(at or 0) for plugin, hook, at in rows if 0 <= int(at or 0) < head}


def _refuse(held: int, waiting: Mapping[str, int], start: Start | None, force: bool) -> None:
    if held and not force:
        raise UsageError(
            f"the database holds {held:,} records and transactions, which would be lost",
            hint="back it up first (crm storage backup FILE), then restore with --force",
        )
    if waiting and start is None:
        told = ", ".join(f"{name}: {count:,}" for name, count in waiting.items())
        raise UsageError(
            f"when the backup was made, transactions were waiting for delivery ({told})",
            hint="--from gap delivers them, perhaps a second time; --from head does not",
        )


def _release(inside: Storage, start: Start | None) -> None:
    """Free the cursors of a copy from processes of long ago, and move them to the head where that is wanted."""
    if CURSORS.name not in (inside.schema() or Manifest({}, {})).tables:
        return
    heads = inside.get_many(HEAD.name, [1])
    head = int(heads[0][1] or 0) if heads else 0
    moved = [_released(inside, CURSORS, head if start == "head" else None)]
    if JOBS.name in (inside.schema() or Manifest({}, {})).tables:
        moved.append(_released(inside, JOBS, None))
    inside.begin()
    try:
        for table, rows in zip((CURSORS, JOBS), moved, strict=False):
            inside.put_many(table.name, table.column_names, rows)
        inside.commit()
    except BaseException:
        inside.rollback()
        raise


def _released(inside: Storage, table: Table, position: int | None) -> list[Row]:
    """Return the cursors of a table as nobody holds them, at `position` where one is given."""
    rows = []
    for row in inside.find(table.name, columns=table.column_names):
        cells: dict[str, Any] = dict(zip(table.column_names, row, strict=True))
        cells |= {"lease": None, "lease_until": 0, "attempts": 0, "next_at": 0}
        if position is not None and cells["position"] >= 0:
            cells["position"] = position
        rows.append(tuple(cells.values()))
    return rows


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    read: Callable[[], bytes] = lambda: stream.read(_BLOCK)  # noqa: E731
    return iter(read, b"")


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except CrmError:
        raise
    except OSError as error:
        raise StorageError(
            f"{file} cannot be written: {error.strerror}",
            hint="free some space on that disk, or name a file in a folder you may write to",
        ) from error
