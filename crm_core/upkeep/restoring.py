"""Putting a backup in the place of what a workspace's database holds, whole or not at all, and its persons with it.

Who was erased after the backup was made is erased again: a backup must not bring a person back. Nor must it bring back
a consent that was withdrawn.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO, Final, Literal

import attrs

from crm_core.crm import CRM
from crm_core.errors import CrmError, StorageError, UpgradeNeeded, UsageError
from crm_core.extend import Storage
from crm_core.ledger.chain import Chain
from crm_core.ledger.erasure_log import ErasureLog
from crm_core.ledger.erasures import PENDING, Erased, erased_in, pending_cells, pending_in, write_pending
from crm_core.ledger.evolution import check_not_newer, merged_manifest, same_but_order
from crm_core.ledger.tables import CURSORS, LEDGER_TABLES, TRANSACTIONS
from crm_core.ledger.verify import faults_of
from crm_core.ledger.withdrawals import (
    FORGOTTEN_CONSENTS,
    Withdrawal,
    latest_of,
    pending_withdrawals,
    withdrawal_cells,
    withdrawn_in,
)
from crm_core.opening import opened_storage
from crm_core.records import Registry
from crm_core.records.schema import Manifest
from crm_core.services.workspace import registry_of
from crm_core.settings import Settings
from crm_core.upkeep.backup import held_by, require_same
from crm_core.upkeep.envelope import BackupInfo, content_of
from crm_core.upkeep.persons import Asked, forgotten, returning
from crm_core.upkeep.portable import Cells, Content, fill_from, read_portable, read_storage
from crm_core.values import format_id, from_micros

Start = Literal["head", "gap"]
_OLDER_BACKUP: Final = "take an older backup"


@attrs.frozen(kw_only=True)
class WithdrawnAgain:
    """A consent that was withdrawn after a backup was made: of which contact point (its id), for what, when (UTC)."""

    contact_point: str
    purpose: str
    at: str


@attrs.frozen(kw_only=True)
class RestoreReport:
    """What a restore did, or (dry run) would do.

    `waiting` counts, by `plugin.hook`, the transactions that were not delivered when the backup was made; `replaced`
    the rows that the database held before; `older` says whether the schema must be upgraded before use.

    `erased_again` counts the persons in the backup who were erased after it was made, and are again; with `erasing`
    "later" that is to be done by `crm storage upgrade`, because the database is too old to work on. `absorbed` names
    those of them of whom that is not possible, by their id, with the customer who had taken them over by a merge.
    `withdrawn_again` are the consents that the replaced database knew to be withdrawn and the backup does not; they are
    withdrawn at the same time as persons are erased.
    """

    backup: BackupInfo
    replaced: int
    waiting: Mapping[str, int]
    older: bool
    erased_again: int
    erasing: Literal["done", "later"]
    absorbed: Mapping[str, str]
    withdrawn_again: tuple[WithdrawnAgain, ...]
    dry_run: bool


def restore(
    url_or_dir: str | Path,
    file: Path,
    *,
    start: Start | None = None,
    force: bool = False,
    despite_erasures: bool = False,
    dry_run: bool = False,
) -> RestoreReport:
    """Check a backup, then put it in the place of all that a workspace's database holds, whole or not at all.

    Persons who were erased since it was made are erased again. Who they are, say the ledger of the database that is
    replaced and the workspace's `erasures.jsonl`. It is noted in the same step in which the backup takes its place:
    killed before it is done, the next command that opens the database does it first. So it is with consents that the
    replaced database knows to be withdrawn, and the backup does not.

    Args:
        url_or_dir: the workspace, or the URL of its storage.
        file: what `back_up` wrote.
        start: where subscribers go on that had not been told of everything: "gap" tells them what was waiting when the
            backup was made (which may have been delivered after it), "head" does not.
        force: overwrite a database that holds something.
        despite_erasures: restore also where not all erasures since can be known, or one of them not be done again.
        dry_run: check everything, and change nothing.

    Raises:
        UsageError: the database holds something and `force` is not given; or transactions wait and `start` is missing;
            or an erasure cannot be done again, and `despite_erasures` is not given.
        StorageError: the file is no backup, is damaged, or is another storage's own copy; or what was erased since
            cannot be read, and `despite_erasures` is not given.
        SettingsError: persons are to be erased again, which the key of the ledger is missing for.
        NewerDatabase: a newer version wrote it.
    """
    settings, host, storage = opened_storage(url_or_dir)
    try:
        with content_of(file) as (info, source):
            log = ErasureLog(settings.directory)
            known, withdrawn = _known(storage, log, despite=despite_erasures)
            registry = registry_of(settings, host)
            asked = (start, force, despite_erasures, dry_run)
            one = _Restoring(storage, settings, registry, info, file, known, withdrawn, *asked)
            report = one.of_rows(source) if info.form == "portable" else one.of_copy(source)
            late = not dry_run and not despite_erasures and _note_late(storage, log, known)
    finally:
        storage.close()
    waits = not dry_run and (report.erased_again or report.withdrawn_again)
    return finish(url_or_dir, report) if late or waits else report


def finish(url_or_dir: str | Path, report: RestoreReport) -> RestoreReport:
    """Open a CRM on what was restored, which first erases and withdraws again; returns what became of it.

    Raises:
        StorageError: it cannot be done now.
    """
    try:
        with CRM.open(url_or_dir) as crm:
            return attrs.evolve(report, erased_again=max(report.erased_again, crm.erased_again))
    except UpgradeNeeded:
        return attrs.evolve(report, erasing="later")
    except CrmError as error:
        raise StorageError(
            "the backup is in its place, but who was erased since could not be erased again, nor consents withdrawn: "
            f"{error.message}",
            hint=f"{error.hint + '; ' if error.hint else ''}whatever opens the database next does that first",
        ) from error


def finish_restore(url_or_dir: str | Path) -> tuple[int, int]:
    """Do what a restore left to the upgrade of a database too old to be worked on.

    Returns how many persons were erased again, and how many consents withdrawn again.
    """
    _, _, storage = opened_storage(url_or_dir)
    try:
        stored = storage.schema()
        if stored is None:
            return 0, 0
        storage.use(stored)
        waiting = pending_in(storage) or pending_withdrawals(storage)
    finally:
        storage.close()
    if not waiting:
        return 0, 0
    with CRM.open(url_or_dir) as crm:
        return crm.erased_again, crm.withdrawn_again


def _known(storage: Storage, log: ErasureLog, *, despite: bool) -> tuple[list[Erased], list[Withdrawal]]:
    """Return all erasures that the database in the way and the workspace's file know of, and all withdrawals it knows.

    With `despite`, what cannot be read is left out.
    """
    erased: list[Erased] = []
    withdrawn: list[Withdrawal] = []
    sources: tuple[Callable[[], None], ...] = (
        lambda: erased.extend(_erased_in(storage)),
        lambda: withdrawn.extend(_withdrawn_in(storage)),
        lambda: erased.extend(log.read()),
    )
    for source in sources:
        try:
            source()
        except CrmError as error:
            if not despite:
                told = (
                    "it cannot be found out who was erased, and which consents were withdrawn, after the backup was "
                    f"made: {error.message}"
                )
                hint = "put that right first; --despite-erasures restores all the same, and you do them again by hand"
                raise StorageError(told, hint=hint) from error
    return erased, withdrawn


def _erased_in(storage: Storage) -> list[Erased]:
    stored = storage.schema()
    if stored is None:
        return []
    storage.use(stored)
    return [*erased_in(storage), *pending_in(storage)]


def _withdrawn_in(storage: Storage) -> list[Withdrawal]:
    stored = storage.schema()
    if stored is None:
        return []
    storage.use(stored)
    return latest_of([*pending_withdrawals(storage), *withdrawn_in(storage)])


def _note_late(storage: Storage, log: ErasureLog, known: Sequence[Erased]) -> bool:
    """Note in the restored database whom others erased while the backup was read; returns whether there are any."""
    before = {one.operation for one in known}
    late = [one for one in log.read() if one.operation not in before]
    if late:
        storage.begin(write=True)
        try:
            write_pending(storage, [*pending_in(storage), *late])
            storage.commit()
        except BaseException:
            storage.rollback()
            raise
    return bool(late)


@attrs.frozen
class _Restoring:
    """One restore: what is to be put where, and how."""

    storage: Storage
    settings: Settings
    registry: Registry
    info: BackupInfo
    file: Path
    known: Sequence[Erased]
    withdrawn: Sequence[Withdrawal]
    start: Start | None
    force: bool
    despite_erasures: bool
    dry_run: bool

    @property
    def asked(self) -> Asked:
        """Who may be in the backup though they were erased, and what it may not know to be withdrawn."""
        return Asked(
            persons=frozenset(person for one in self.known for person in one.persons),
            consents=frozenset(one.about for one in self.withdrawn),
        )

    def of_rows(self, source: IO[bytes]) -> RestoreReport:
        """Put the rows of a portable backup in place."""
        if "replace" not in self.storage.capabilities:
            raise StorageError(
                f"{self.storage.status().engine} takes no portable backup",
                hint="restore it into another storage; crm init --storage URL names one",
            )
        body = source.tell()
        held = read_portable(source, self.file, asked=self.asked)
        report = self.report(held)
        if self.dry_run:
            return report
        self.refuse(report)
        source.seek(body)
        fill_from(source, self.storage, lambda table, rows: self.released(table, rows, held))
        require_same(read_storage(self.storage), self.info, "the restored database")
        return report

    def of_copy(self, source: IO[bytes]) -> RestoreReport:
        """Put a storage's own copy in place, after looking into it."""
        if "backup" not in self.storage.capabilities:
            raise StorageError(
                f"{self.file} is a copy made by {self.info.engine}, which {self.storage.status().engine} cannot read",
                hint="make one that any storage takes: crm storage backup FILE --portable",
            )
        with self._unpacked(source) as copy:
            inside = self.storage.opened_backup(copy)
            try:
                held = held_by(inside, self.asked)
                report = self.report(held, _faults(inside, self.registry))
                if not self.dry_run:
                    self.refuse(report)
                    for table, rows in held.leased.items():
                        _write(inside, table, self.released(table, list(rows), held))
            finally:
                inside.close()
            if not self.dry_run:
                self.storage.restore(copy)
                require_same(held_by(self.storage), self.info, "the restored database")
        return report

    @contextmanager
    def _unpacked(self, source: IO[bytes]) -> Iterator[Path]:
        """Give the copy as a file beside the settings, which is gone at the end."""
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(TemporaryDirectory(prefix=".crm-restore-", dir=self.settings.directory))
                copy = Path(folder, "copy")
                with copy.open("wb") as target:
                    shutil.copyfileobj(source, target)
            except OSError as error:
                place = self.settings.directory or gettempdir()
                raise StorageError(
                    f"{self.file} cannot be unpacked in {place}: {error.strerror}; nothing was changed",
                    hint="free as much space there as the backup has bytes, and see that you may write there",
                ) from error
            yield copy

    def report(self, held: Content, faults: Iterable[str] = ()) -> RestoreReport:
        """Check what a backup holds, and say what putting it back means."""
        schema = held.manifest if held.manifest.tables else None
        wanted = self.registry.manifest(LEDGER_TABLES)
        check_not_newer(schema, wanted)
        target = merged_manifest(schema, wanted)
        require_same(held, self.info, str(self.file))
        if wrong := [*self.info.faults, *faults]:
            raise StorageError(
                f"{self.file} holds a database that is wrong in itself: {wrong[0]}"
                + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
                hint=_OLDER_BACKUP,
            )
        back = returning(self.known, held.seen)
        return RestoreReport(
            backup=self.info,
            replaced=0 if self.storage.schema() is None else _rows_in(self.storage),
            waiting=_waiting(held),
            older=schema is None or not same_but_order(schema, target),
            erased_again=len(back.persons),
            erasing="done",
            absorbed={format_id(person): format_id(other) for person, other in back.absorbed.items()},
            withdrawn_again=tuple(map(_named, forgotten(self.withdrawn, held.seen))),
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
        if report.absorbed and not self.despite_erasures:
            person, other = next(iter(report.absorbed.items()))
            raise UsageError(
                f"customer {person} was erased after the backup was made, and is a part of customer {other} in it",
                hint="take a backup from before that merge or from after the erasure; with --despite-erasures it is "
                "restored all the same, and crm doctor says what is to be erased by hand",
            )
        if report.erased_again or report.withdrawn_again:
            Chain(self.settings).require_key()
        # A database that is replaced knows no more of its erasures, should the restored one be lost too.
        ErasureLog(self.settings.directory).add(self.known)

    def released(self, table: str, rows: list[Cells], held: Content) -> list[Cells]:
        """Free rows from processes of long ago, and move cursors to the head where that is wanted.

        Among the cursors go the notes of whom to erase again, and which consents to withdraw again.
        """
        freed = [{**cells, "lease": None, "lease_until": 0, "attempts": 0, "next_at": 0} for cells in rows]
        if table != CURSORS.name:
            return freed
        erasures, consents = returning(self.known, held.seen).erasures, forgotten(self.withdrawn, held.seen)
        noted = {cells["id"] for cells in freed} & {PENDING, FORGOTTEN_CONSENTS}
        freed = [cells for cells in freed if cells["id"] not in noted]
        for cells in freed if self.start == "head" else ():
            if cells["position"] >= 0:
                cells["position"] = held.position
        notes = [pending_cells(erasures)] if erasures or PENDING in noted else []
        notes += [withdrawal_cells(consents)] if consents or FORGOTTEN_CONSENTS in noted else []
        return [*freed, *notes]


def _named(one: Withdrawal) -> WithdrawnAgain:
    at = from_micros(one.at).isoformat()
    return WithdrawnAgain(contact_point=format_id(one.contact_point_id), purpose=one.purpose, at=at)


def _faults(storage: Storage, registry: Registry) -> list[str]:
    storage.begin(write=False)
    try:
        return faults_of(storage, registry)
    finally:
        storage.rollback()


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
