"""Backups of a workspace's database as one file each: written while others work, checked before they are put back.

A backup holds the storage's own copy where it makes one, else (or when it is asked for) all rows in a form that any
storage takes: that is also the way from one storage to another.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final, Literal

import attrs

from crm_core import __version__
from crm_core.errors import StorageError, UsageError
from crm_core.extend import Storage
from crm_core.ledger.evolution import check_not_newer, merged_manifest, same_but_order
from crm_core.ledger.tables import CURSORS, LEASED, LEDGER_TABLES, TRANSACTIONS
from crm_core.ledger.verify import faults_of
from crm_core.opening import opened_storage
from crm_core.records import Registry
from crm_core.records.schema import Manifest
from crm_core.services.workspace import registry_of
from crm_core.settings import Settings
from crm_core.upkeep.envelope import BackupInfo, assemble, content_of, digest_of, writing
from crm_core.upkeep.portable import Cells, Content, fill_from, read_portable, read_storage, snapshot, write_portable
from crm_core.values import SystemClock

Start = Literal["head", "gap"]
_OLDER_BACKUP: Final = "take an older backup"


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
            _require_same(read_portable(source, file), info, str(file))
        return info


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
        StorageError: the file is no backup, is damaged, or is another storage's own copy.
        NewerDatabase: a newer version wrote it.
    """
    settings, host, storage = opened_storage(url_or_dir)
    try:
        with content_of(file) as (info, source):
            one = _Restoring(storage, registry_of(settings, host), info, file, start, force, dry_run)
            return one.of_rows(source) if info.form == "portable" else one.of_copy(source, settings)
    finally:
        storage.close()


@attrs.frozen
class _Restoring:
    """One restore: what is to be put where, and how."""

    storage: Storage
    registry: Registry
    info: BackupInfo
    file: Path
    start: Start | None
    force: bool
    dry_run: bool

    def of_rows(self, source: IO[bytes]) -> RestoreReport:
        """Put the rows of a portable backup in place."""
        if "replace" not in self.storage.capabilities:
            raise StorageError(
                f"{self.storage.status().engine} takes no portable backup",
                hint="restore it into another storage; crm init --storage URL names one",
            )
        body = source.tell()
        held = read_portable(source, self.file)
        report = self.report(held)
        if self.dry_run:
            return report
        self.refuse(report)
        source.seek(body)
        fill_from(source, self.storage, lambda table, cells: self.released(table, cells, held))
        _require_same(read_storage(self.storage), self.info, "the restored database")
        return report

    def of_copy(self, source: IO[bytes], settings: Settings) -> RestoreReport:
        """Put a storage's own copy in place, after looking into it."""
        if "backup" not in self.storage.capabilities:
            raise StorageError(
                f"{self.file} is a copy made by {self.info.engine}, which {self.storage.status().engine} cannot read",
                hint="make one that any storage takes: crm storage backup FILE --portable",
            )
        with TemporaryDirectory(prefix=".crm-restore-", dir=settings.directory) as folder:
            copy = Path(folder, "copy")
            with copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            inside = self.storage.opened_backup(copy)
            try:
                held = _held_by(inside)
                report = self.report(held, _faults(inside, self.registry))
                if not self.dry_run:
                    self.refuse(report)
                    for table, rows in held.leased.items():
                        _write(inside, table, [self.released(table, cells, held) for cells in rows])
            finally:
                inside.close()
            if not self.dry_run:
                self.storage.restore(copy)
                _require_same(_held_by(self.storage), self.info, "the restored database")
        return report

    def report(self, held: Content, faults: Iterable[str] = ()) -> RestoreReport:
        """Check what a backup holds, and say what putting it back means."""
        schema = held.manifest if held.manifest.tables else None
        wanted = self.registry.manifest(LEDGER_TABLES)
        check_not_newer(schema, wanted)
        target = merged_manifest(schema, wanted)
        _require_same(held, self.info, str(self.file))
        if wrong := [*self.info.faults, *faults]:
            raise StorageError(
                f"{self.file} holds a database that is wrong in itself: {wrong[0]}"
                + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
                hint=_OLDER_BACKUP,
            )
        return RestoreReport(
            backup=self.info,
            replaced=0 if self.storage.schema() is None else _rows_in(self.storage),
            waiting=_waiting(held),
            older=schema is None or not same_but_order(schema, target),
            dry_run=self.dry_run,
        )

    def refuse(self, report: RestoreReport) -> None:
        """Go on only with what was asked for."""
        if report.replaced and not self.force:
            raise UsageError(
                f"the database holds {report.replaced:,} records and transactions, which would be lost",
                hint="back it up first (crm storage backup FILE), then restore with --force",
            )
        if report.waiting and self.start is None:
            told = ", ".join(f"{name}: {count:,}" for name, count in report.waiting.items())
            raise UsageError(
                f"when the backup was made, transactions were waiting for delivery ({told})",
                hint="--from gap delivers them, perhaps a second time; --from head does not",
            )

    def released(self, table: str, cells: Cells, held: Content) -> Cells:
        """Free a row from a process of long ago, and move a cursor to the head where that is wanted."""
        freed = {**cells, "lease": None, "lease_until": 0, "attempts": 0, "next_at": 0}
        if table == CURSORS.name and self.start == "head" and cells["position"] >= 0:
            freed["position"] = held.position
        return freed


def _look_into(storage: Storage, copy: Path) -> Content:
    """Look into a copy: opening it may still change its bytes, so its own digest is taken after."""
    inside = storage.opened_backup(copy)
    try:
        return _held_by(inside)
    finally:
        inside.close()


def _held_by(storage: Storage) -> Content:
    storage.use(storage.schema() or Manifest({}, {}))
    return read_storage(storage)


def _faults(storage: Storage, registry: Registry) -> list[str]:
    storage.begin(write=False)
    try:
        return faults_of(storage, registry)
    finally:
        storage.rollback()


def _require_same(held: Content, info: BackupInfo, where: str) -> None:
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


def _rows_in(storage: Storage) -> int:
    """Count the records and transactions that would be lost."""
    manifest = storage.schema() or Manifest({}, {})
    storage.use(manifest)
    own = {table.name for table in LEDGER_TABLES if table is not TRANSACTIONS}
    return sum(storage.count(name) for name in manifest.tables if name not in own)


def _waiting(held: Content) -> dict[str, int]:
    behind = {
        f"{one['plugin']}.{one['hook']}": (int(one["position"] or 0), held.position)
        for one in held.leased[CURSORS.name]
    }
    return {name: head - at for name, (at, head) in behind.items() if 0 <= at < head}


def _write(inside: Storage, table: str, rows: list[Cells]) -> None:
    inside.begin()
    try:
        for cells in rows:
            inside.put_many(table, tuple(cells), [tuple(cells.values())])
        inside.commit()
    except BaseException:
        inside.rollback()
        raise
