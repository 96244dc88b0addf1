"""Backups of a workspace's database as one file each: written while others work, checked before they are put back.

A backup holds the storage's own copy where it makes one, else (or when it is asked for) all rows in a form that any
storage takes: that is also the way from one storage to another.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from crm_core import __version__
from crm_core.errors import StorageError, UsageError
from crm_core.extend import Storage
from crm_core.ledger.erasure_log import ErasureLog
from crm_core.ledger.tables import LEASED
from crm_core.ledger.verify import faults_of
from crm_core.opening import opened_storage
from crm_core.records.schema import Manifest
from crm_core.services.workspace import registry_of
from crm_core.upkeep.envelope import BackupInfo, assemble, content_of, digest_of, writing
from crm_core.upkeep.persons import NOBODY, Asked
from crm_core.upkeep.portable import Content, read_portable, read_storage, snapshot, write_portable
from crm_core.values import SystemClock


def back_up(url_or_dir: str | Path, file: Path, *, portable: bool = False) -> BackupInfo:
    """Write a backup of a workspace's database to a new file; others read and write on meanwhile.

    Args:
        url_or_dir: the workspace, or the URL of its storage.
        file: where to write it.
        portable: write rows that any storage takes, also where this storage makes copies of its own.

    Raises:
        UsageError: the file is there already.
        StorageError: the database is empty, or the file cannot be written.
    """
    if file.exists():
        raise UsageError(f"{file} is already there", hint="name a new file, or move that one away")
    settings, host, storage = opened_storage(url_or_dir)
    try:
        if storage.schema() is None:
            raise StorageError("the database is empty: there is nothing to back up")
        with writing(file), TemporaryDirectory(prefix=".crm-backup-", dir=file.absolute().parent) as folder:
            content = Path(folder, "content")
            if portable or "backup" not in storage.capabilities:
                with snapshot(storage):
                    held = write_portable(storage, content)
                    # What is wrong is found now: it cannot be looked for in lines of rows.
                    faults = faults_of(storage, registry_of(settings, host))
            else:
                storage.backup(content)
                held, faults = _look_into(storage, content), []
            info = BackupInfo(
                made_at=SystemClock().now().isoformat(timespec="seconds"),
                kernel=__version__,
                engine=storage.status().engine,
                form="portable" if portable or "backup" not in storage.capabilities else "copy",
                position=held.position,
                rows=held.rows,
                digests=held.digests,
                faults=faults,
                size=content.stat().st_size,
                sha256=digest_of(content),
            )
            assemble(info, content, file)
            ErasureLog(settings.directory).add(held.seen.done)  # those made elsewhere, on the same server
            return info
    finally:
        storage.close()


def check_backup(file: Path) -> BackupInfo:
    """Read a backup to its last byte and return what it says of itself; no workspace is needed.

    What a storage's own copy holds is looked at by `restore` alone, which opens it.

    Raises:
        StorageError: the file cannot be read, is no backup, or is damaged.
    """
    with content_of(file) as (info, source):
        if info.form == "portable":
            require_same(read_portable(source, file), info, str(file))
        return info


def _look_into(storage: Storage, copy: Path) -> Content:
    """Look into a copy: opening it may still change its bytes, so its own digest is taken after."""
    inside = storage.opened_backup(copy)
    try:
        return held_by(inside)
    finally:
        inside.close()


def held_by(storage: Storage, asked: Asked = NOBODY) -> Content:
    """Read what a storage holds, and what it says of what is asked."""
    storage.use(storage.schema() or Manifest({}, {}))
    return read_storage(storage, asked=asked)


def require_same(held: Content, info: BackupInfo, where: str) -> None:
    """Compare what is held with the digests; the cursors may have been moved on purpose."""
    for name in sorted(held.rows.keys() | info.rows.keys()):
        if name not in LEASED and (held.rows.get(name), held.digests.get(name)) != (
            info.rows.get(name),
            info.digests.get(name),
        ):
            raise StorageError(
                f"{where}: {name} has {held.rows.get(name)} rows and not what the backup says, "
                f"{info.rows.get(name)} rows",
                hint="take another backup, and run crm storage verify",
            )
