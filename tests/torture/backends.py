"""The storages that are tortured: where each keeps a workspace, and how that is put back to a state of before."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from crm_core import CRM, CrmError, Host, crm
from crm_core.crm import opened_storage, upgrade_workspace
from crm_core.extend import Storage
from crm_core.host import discover
from crm_core.records import Registry
from crm_core.records.schema import Drop, Manifest
from crm_core.settings import Settings, write_settings
from tests.torture.faults import DATABASE

SERVERS = {"postgresql": "CRM_TEST_POSTGRESQL_URL", "mariadb": "CRM_TEST_MARIADB_URL"}


@attrs.frozen
class Backend:
    """One storage: its name and the URL of a workspace's database. `files`: it lies in the workspace's folder."""

    name: str
    url: str
    files: bool

    def make(self, place: Path, fill: Callable[[CRM], None] = lambda opened: None) -> None:
        """Make an empty workspace and fill it."""
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        write_settings(place, storage_url=self.url, currency="EUR")
        if not self.files:
            self._empty(place)
        with CRM.open(place) as opened:
            fill(opened)

    def again(self, template: Path, place: Path, fill: Callable[[CRM], None]) -> None:
        """Put a workspace back to what `template` holds; a server's is filled anew."""
        if not self.files:
            self.make(place, fill)
            return
        if place.exists():
            shutil.rmtree(place)
        shutil.copytree(template, place)

    def opened(self, place: Path) -> Storage:
        """Open the storage of a workspace, without a CRM."""
        return opened_storage(place)[2]

    def _empty(self, place: Path) -> None:
        storage = self.opened(place)
        try:
            stored = storage.schema()
            if stored is not None:
                storage.apply([Drop(name) for name in stored.tables], Manifest({}, stored.owners))
        finally:
            storage.close()
        upgrade_workspace(place)


def backends() -> Iterator[Backend | str]:
    """Yield every storage that can be tortured here, and for each other one why it is not."""
    yield Backend("sqlite", f"sqlite:///{DATABASE}", files=True)
    yield Backend("jsonl", "jsonl:///data", files=True)
    for name, variable in SERVERS.items():
        url = os.environ.get(variable)
        if not url:
            yield f"{name}: {variable} names no server"
            continue
        try:
            opened_storage(url)[2].close()
        except CrmError as error:
            yield f"{name}: {error.message}"
        else:
            yield Backend(name, url, files=False)


def open_quickly() -> None:
    """Remember within this process what opening a CRM works out anew each time: the installed plugins, the registry.

    A thousand workspaces are opened, and neither has anything to do with what is stored.
    """
    remembered: dict[object, Registry] = {}
    registry_of = crm.registry_of

    def known(settings: Settings, host: Host) -> Registry:
        key = (repr(settings.fields), settings.zone.key, tuple(host.owners().items()))
        if key not in remembered:
            remembered[key] = registry_of(settings, host)
        return remembered[key]

    crm.registry_of = known
    discover.installed = functools.cache(discover.installed)
