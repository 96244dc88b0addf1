"""What becomes of a plugin's data when it goes and when it comes back: detached it stays, attached it is linked again.

A purge removes it for good.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from crm_core.errors import NotFound, UsageError
from crm_core.extend import Storage
from crm_core.host import Host, PluginInfo
from crm_core.ledger.purge import PurgeReport, purge
from crm_core.ledger.standing import Standing, standings
from crm_core.ledger.tables import CURSORS, FORGOTTEN, HEAD
from crm_core.opening import opened_storage
from crm_core.query.ast import Compare
from crm_core.records.schema import Row
from crm_core.settings import Settings, set_disabled
from crm_core.upkeep.restoring import Start


@attrs.frozen(kw_only=True)
class DetachReport:
    """What stays in the database for a plugin that was detached, or waits for one that was attached.

    `data` is None when the plugin stored nothing; `waiting` counts the transactions its subscribers were not told of.
    """

    plugin: str
    changed: bool
    data: PurgeReport | None
    waiting: int


def detach(directory: Path, name: str) -> DetachReport:
    """Switch a plugin off in `crm.toml`; all that it stored stays, and is there again when it is attached.

    Raises:
        NotFound: neither an installed plugin nor the database knows the name.
        UsageError: the workspace cannot be opened without it, because it is its storage.
    """
    settings, host, storage = opened_storage(directory, tolerant=True)
    try:
        plugin, owner = _named(host, name)
        _refuse_storage(settings, host, plugin)
        data = _data(storage, owner, plugin, installed=_installed(host, plugin) is not None)
    finally:
        storage.close()
    changed = set_disabled(directory, plugin, owner, disabled=True)
    return DetachReport(plugin=plugin, changed=changed, data=data, waiting=0)


def attach(directory: Path, name: str, *, start: Start | None = None) -> DetachReport:
    """Switch a detached plugin on again; what it stored is linked to it by itself.

    Args:
        directory: the workspace.
        name: the plugin.
        start: "gap" tells its subscribers what happened meanwhile, "head" does not; needed when something did.

    Raises:
        NotFound: it is not installed.
        UsageError: something happened meanwhile, and `start` is missing.
    """
    _, host, storage = opened_storage(directory, tolerant=True)
    try:
        plugin, owner = _named(host, name)
        if _installed(host, plugin) is None:
            raise NotFound(f"the plugin {name!r} is not installed", hint=f"pip install {owner}, then attach it")
        head, behind = _behind(storage, plugin)
        waiting = max((head - int(row[3] or 0) for row in behind), default=0)
        if waiting and start is None:
            raise UsageError(
                f"{plugin} was not told of {waiting:,} transactions since it was detached",
                hint="--from gap tells it of them now, --from head goes on from here",
            )
        if start == "head" and behind:
            _move(storage, behind, head)
        data = _data(storage, owner, plugin, installed=True)
    finally:
        storage.close()
    changed = set_disabled(directory, plugin, owner, disabled=False)
    return DetachReport(plugin=plugin, changed=changed, data=data, waiting=0 if start == "head" else waiting)


def purge_plugin(url_or_dir: str | Path, name: str, *, dry_run: bool = False) -> PurgeReport:
    """Remove all that a detached or uninstalled plugin stored; see `crm_core.ledger.purge.purge`.

    Raises:
        UsageError: the plugin is at work.
        NotFound: the database holds nothing of it.
    """
    _, host, storage = opened_storage(url_or_dir)
    try:
        plugin, owner = _named(host, name)
        info = _installed(host, plugin)
        if info is not None and info.status == "active":
            raise UsageError(
                f"{plugin} is at work: what it needs cannot be removed",
                hint=f"crm plugins detach {plugin}, or uninstall it",
            )
        stored = storage.schema()
        if stored is not None:
            storage.use(stored)
        return purge(storage, owner, plugin, dry_run=dry_run)
    finally:
        storage.close()


def standings_of(url_or_dir: str | Path) -> list[Standing]:
    """Return where every subscriber of a workspace stands; the database is read as it is, and nothing is upgraded."""
    _, _, storage = opened_storage(url_or_dir)
    try:
        stored = storage.schema()
        if stored is not None:
            storage.use(stored)
        return standings(storage)
    finally:
        storage.close()


def _named(host: Host, name: str) -> tuple[str, str]:
    """Return a plugin's name and its distribution; of one that is not installed, as distributions are named."""
    info = _installed(host, name)
    if info is not None:
        return info.name, info.distribution
    short = name.removeprefix("crm-")
    return short, f"crm-{short}"


def _installed(host: Host, name: str) -> PluginInfo | None:
    return next((info for info in host.plugins() if name in (info.name, info.distribution)), None)


def _refuse_storage(settings: Settings, host: Host, plugin: str) -> None:
    scheme = settings.storage_url.partition(":")[0]
    for found in host.collect("register_storages"):
        if found.plugin == plugin and scheme in found.item.schemes:
            raise UsageError(
                f"{plugin} is the storage of this workspace", hint="change [storage] url in crm.toml before it goes"
            )


def _data(storage: Storage, owner: str, plugin: str, *, installed: bool) -> PurgeReport | None:
    stored = storage.schema()
    if stored is not None:
        storage.use(stored)
    try:
        return purge(storage, owner, plugin, dry_run=True)
    except NotFound:
        if installed:
            return None
        raise


def _behind(storage: Storage, plugin: str) -> tuple[int, list[Row]]:
    """Return the ledger's head, and the cursors of a plugin that stand before it."""
    stored = storage.schema()
    if stored is None or CURSORS.name not in stored.tables:
        return 0, []
    storage.use(stored)
    heads = storage.get_many(HEAD.name, [1])
    head = int(heads[0][1] or 0) if heads else 0
    rows = storage.find(CURSORS.name, Compare("plugin", "=", plugin), columns=CURSORS.column_names)
    return head, [row for row in rows if FORGOTTEN < int(row[3] or 0) < head]


def _move(storage: Storage, rows: list[Row], position: int) -> None:
    storage.begin()
    try:
        storage.put_many(CURSORS.name, CURSORS.column_names, [(*row[:3], position, *row[4:]) for row in rows])
        storage.commit()
    except BaseException:
        storage.rollback()
        raise
