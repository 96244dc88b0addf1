"""Opening a CRM in tests, on each storage that is at hand; contents without the numbers that every write changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core import CRM
from tests.databases import SERVERS, give_back, used_again

SYSTEM = {"version", "created_tx", "updated_tx"}
STORAGES = [
    pytest.param("memory:", id="memory"),
    pytest.param("sqlite", id="sqlite", marks=pytest.mark.database("sqlite")),
]
EVERYWHERE = [*STORAGES, *(pytest.param(name, id=name, marks=pytest.mark.database(name)) for name in SERVERS)]


def url_of(storage: str, directory: Path) -> str:
    """Return the URL of a new database of a kind."""
    return storage if storage == "memory:" else f"sqlite:///{directory}/team.db"


@contextmanager
def url_for(storage: str, directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database of a kind, on a server as well."""
    if storage not in SERVERS:
        yield url_of(storage, directory)
        return
    url = used_again(storage, directory)
    yield url
    give_back(storage, url)


def content(crm: CRM) -> Mapping[str, Mapping[int, Mapping[str, Any]]]:
    """Return every record of every type, by type and id, without versions and transactions."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for kind in crm.registry.types.values():
        for record in crm.records(kind.name).iterate():
            cells = {name: value for name, value in attrs.asdict(record, recurse=False).items() if name not in SYSTEM}
            if kind.name == "external_id":
                cells.pop("row_hash")
            if "tags" in cells:
                cells["tags"] = tuple(sorted(cells["tags"]))
            found.setdefault(kind.name, {})[record.id] = cells
    return found
