"""What MariaDB and its driver do in their own way, and the storage must not let through."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core.extend import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import SortKey
from crm_core.testing.tables import MANIFEST, THINGS, thing
from crm_storage_sql.mariadb import session
from crm_storage_sql.plugin import open_mariadb
from tests.databases import drop_all, new_url

pytestmark = pytest.mark.database("mariadb")


@pytest.fixture(scope="module", autouse=True)
def _cleaned_up() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return new_url("mariadb", tmp_path)


@pytest.fixture
def two(url: str) -> Iterator[list[Storage]]:
    """Two openings of one database that holds a row, whose `group` is a long text in an index with `size`."""
    opened = [open_mariadb(url, {}), open_mariadb(url, {})]
    upgrade(opened[0], MANIFEST)
    opened[1].use(MANIFEST)
    opened[0].begin()
    opened[0].insert_many("things", THINGS.column_names, [thing(1, group="g", size=1, code="a")])
    opened[0].commit()
    yield opened
    for one in opened:
        one.close()


@pytest.mark.parametrize(("changes", "now"), [({"size": 7}, "g"), ({"group": "h"}, "h")])
def test_a_row_that_is_being_changed_stays_in_lists_by_a_long_text(
    two: list[Storage], changes: dict[str, object], now: str
) -> None:
    one, other = two
    one.begin()
    assert one.update_if_version("things", [Update(1, 1, changes)]) == []
    assert [now] == [row[-1] for row in one.find("things", sort=[SortKey("group", False)])]
    assert ["g"] == [row[-1] for row in other.find("things", sort=[SortKey("group", False)])]
    one.commit()
    assert [now] == [row[-1] for row in other.find("things", sort=[SortKey("group", False)])]


def test_the_certificates_of_the_system_are_read_once_for_all_connections(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_mariadb(url, {}).close()
    session._connection_class.cache_clear()
    read = []
    made = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **given: read.append(given) or made(**given))
    for _ in range(3):
        open_mariadb(url, {}).close()
    assert len(read) <= 1
