"""The storages that are tortured: where each keeps a workspace, and how that is put back to a state of before."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from crm_core import CRM, CrmError, Host, crm
from crm_core.extend import Storage
from crm_core.host import discover
from crm_core.opening import opened_storage
from crm_core.records import Registry
from crm_core.settings import Settings, load_settings, write_settings
from crm_core.values import FixedClock
from tests import databases
from tests.torture import require
from tests.torture.faults import DATABASE

NOW = FixedClock(datetime(2026, 11, 20, 12, tzinfo=UTC))
"""When everything is written, so that what is written twice is the same."""


@attrs.frozen
class Backend:
    """One storage: its name, and how the URL of a new database is made. `files`: it lies in the workspace's folder."""

    name: str
    new_url: Callable[[Path], str]
    files: bool

    def make(self, place: Path, fill: Callable[[CRM], None] = lambda opened: None) -> None:
        """Make a workspace with an empty database and fill it."""
        self.settle(place)
        with CRM.open(place, clock=NOW) as opened:
            fill(opened)

    def settle(self, place: Path) -> None:
        """Make the folder and settings of a workspace, whose database is not there yet, or (a server's) is empty."""
        if place.exists() and not self.files:
            databases.give_back(self.name, load_settings(place).storage_url)
        _new_folder(place, self.new_url(place))

    def anew(self) -> Backend:
        """Return the same storage, whose databases never serve twice: for tables that are not the kernel's."""
        return self if self.files else attrs.evolve(self, new_url=functools.partial(databases.new_url, self.name))

    def again(self, template: Path, place: Path) -> None:
        """Put a workspace back to what `template` holds; into a database of a server its rows are copied."""
        if self.files:
            if place.exists():
                shutil.rmtree(place)
            shutil.copytree(template, place)
            return
        if place.exists():
            source, target = load_settings(template).storage_url, load_settings(place).storage_url
            if databases.copied(self.name, source, target):
                _new_folder(place, target)
                return
            shutil.rmtree(place)  # what changed its tables is not given back
            fresh = self.anew()
            fresh.make(place)
            fresh.copy_rows(template, place)
            return
        self.make(place)
        self.copy_rows(template, place)

    def copy_rows(self, template: Path, place: Path) -> None:
        """Copy the rows of a server's database into another one that has the same tables."""
        source, target = load_settings(template).storage_url, load_settings(place).storage_url
        require(databases.copied(self.name, source, target), "a new database has other tables than its template")

    def wipe(self, place: Path) -> None:
        """Remove the database of a workspace, or turn to an empty one of the server; other settings stay."""
        if not self.files:
            self.settle(place)
            return
        for path in place.iterdir():
            if path.name != "crm.toml":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def opened(self, place: Path) -> Storage:
        """Open the storage of a workspace, without a CRM."""
        return opened_storage(place)[2]


def _new_folder(place: Path, url: str) -> None:
    """Make the folder of a workspace, without anything of one that was there."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    write_settings(place, storage_url=url, currency="EUR")


def backends(folder: Path, *, wheel: bool) -> Iterator[Backend | str]:
    """Yield every storage that can be tortured here, and for each other one why it is not.

    `wheel` allows for the PostgreSQL of a Python package where no server is named.
    """
    yield Backend("sqlite", lambda place: f"sqlite:///{DATABASE}", files=True)
    yield Backend("jsonl", lambda place: "jsonl:///data", files=True)
    for name in databases.SERVERS:
        variable = f"CRM_TEST_{name.upper()}_URL"
        if not os.environ.get(variable) and not (wheel and name == "postgresql"):
            yield f"{name}: {variable} names no server"
            continue
        try:
            databases.new_url(name, folder)
        except (pytest.skip.Exception, CrmError) as error:
            yield f"{name}: {error}"
        else:
            yield Backend(name, functools.partial(databases.used_again, name), files=False)


def open_quickly() -> None:
    """Remember what is installed, and the registry, which opening a CRM looks up or works out anew each time.

    A thousand workspaces are opened, and neither has to do with what is stored.
    """
    found = discover.installed()
    discover.installed = found.copy
    remembered: dict[object, Registry] = {}
    registry_of = crm.registry_of

    def known(settings: Settings, host: Host) -> Registry:
        key = (repr(settings.fields), settings.zone.key, tuple(host.owners().items()))
        if key not in remembered:
            remembered[key] = registry_of(settings, host)
        return remembered[key]

    crm.registry_of = known
