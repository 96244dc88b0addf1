"""From a workspace to its storage: which plugin serves its URL, in whatever state the storage is."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

from crm_core.errors import UnknownStorage, UpgradeNeeded
from crm_core.extend import Storage, StorageScheme
from crm_core.host import Host
from crm_core.ledger.evolution import UpgradeReport, describe, upgrade
from crm_core.ledger.tables import LEDGER_TABLES
from crm_core.services.workspace import registry_of
from crm_core.settings import Settings, load_settings, settings_for_url

_MEMORY: Final = "memory:"


def upgrade_workspace(url_or_dir: str | Path, *, dry_run: bool = False) -> UpgradeReport:
    """Bring the schema of a workspace's storage up to date without opening a CRM on it; a dry run only reports.

    A storage that is not embedded refuses to be opened by `CRM.open` until this was done.
    """
    settings, host, storage = opened_storage(url_or_dir)
    try:
        wanted = registry_of(settings, host).manifest(LEDGER_TABLES)
        migrations = [found.item for found in host.collect("register_data_migrations")]
        return upgrade(storage, wanted, migrations, dry_run=dry_run)
    finally:
        storage.close()


def opened_storage(url_or_dir: str | Path, *, tolerant: bool = False) -> tuple[Settings, Host, Storage]:
    """Open the storage of a workspace without a CRM on it, whatever state it is in; the caller closes it.

    With `tolerant`, plugins that are no good do not stand in the way: they are what is to be switched off.
    """
    given = str(url_or_dir)
    settings = load_settings(given) if Path(given).is_dir() else settings_for_url(given)
    host = Host.open(settings, tolerant=tolerant)
    return settings, host, open_storage(scheme_of(host, settings.storage_url), settings)


def upgrade_needed(missing: UpgradeReport) -> UpgradeNeeded:
    """Return the refusal of a storage that lacks what is declared, with the command to run."""
    steps = [describe(change) for change in missing.changes]
    steps += [f"change {one.table} as {one.owner} {one.to_version} wants it" for one in missing.migrations]
    return UpgradeNeeded(
        f"the database lacks what is declared now: {steps[0]}"
        + (f" and {len(steps) - 1} more changes" if len(steps) > 1 else ""),
        hint="run `crm storage upgrade` (with --dry-run to see all of it first)",
    )


def scheme_of(host: Host, url: str) -> StorageScheme | None:
    """Return the storage plugin's scheme of a URL; None for the kernel's own `memory:`."""
    if url == _MEMORY:
        return None
    wanted = url.partition(":")[0]
    schemes = [cast(StorageScheme, found.item) for found in host.collect("register_storages")]
    for scheme in schemes:
        if wanted in scheme.schemes:
            return scheme
    known = ", ".join(sorted({"memory", *(name for scheme in schemes for name in scheme.schemes)}))
    absent = "".join(
        f"; plugin {info.name!r} of {info.title} is {info.status}: {info.reason}"
        for info in host.absent("register_storages")
    )
    raise UnknownStorage(
        f"no plugin at work stores data at {wanted}: URLs{absent}",
        hint=f"the schemes at hand are: {known}; SQLite comes with `pip install crm-storage-sql`",
    )


def open_storage(scheme: StorageScheme | None, settings: Settings) -> Storage:
    """Open the storage that the settings name, by its scheme; without one it is in memory."""
    if scheme is None:
        from crm_core.memory import MemoryStorage

        return MemoryStorage()
    options = dict(settings.storage_options)
    if settings.directory is not None:
        options.setdefault("directory", str(settings.directory))
    return scheme.open(settings.storage_url, options)
