"""What PostgreSQL alone does in its own way: schema changes go to the server together, and growth is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core.ledger.evolution import upgrade
from crm_core.records.schema import Manifest
from crm_core.testing.tables import MANIFEST, thing
from crm_storage_sql.plugin import open_postgresql
from crm_storage_sql.postgresql.session import PostgresqlSession
from crm_storage_sql.postgresql.storage import PostgresqlStorage
from tests.databases import drop_all, new_url

pytestmark = pytest.mark.database("postgresql")


@pytest.fixture(scope="module", autouse=True)
def _cleaned_up() -> Iterator[None]:
    yield
    drop_all()


def test_the_planner_is_told_of_a_table_that_grew_at_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresqlStorage, "_growth", 100)
    storage = open_postgresql(new_url("postgresql", tmp_path), {})
    upgrade(storage, MANIFEST)
    counted = "SELECT count(*) FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'things'"
    for start, known in ((0, False), (50, True)):
        storage.begin()
        rows = [thing(number) for number in range(start + 1, start + 51)]
        storage.insert_many("things", MANIFEST.tables["things"].column_names, rows)
        storage.commit()
        assert known is (storage._session().read(counted) != [(0,)])  # type: ignore[attr-defined]
    storage.close()


def test_ten_times_the_tables_are_made_in_as_many_ways_to_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[str] = []
    for name in ("change", "fetch"):
        sent = getattr(PostgresqlSession, name)

        def counted(self: PostgresqlSession, statement: str, *parameters: Any, sent: Any = sent) -> Any:
            ways.append(statement)
            return sent(self, statement, *parameters)

        monkeypatch.setattr(PostgresqlSession, name, counted)
    found = []
    for copies in (1, 10):
        storage = open_postgresql(new_url("postgresql", tmp_path), {})
        ways.clear()
        upgrade(storage, _with_copies(copies))
        found.append(len(ways))
        assert [] == storage.check_indexes()
        storage.close()
    assert found[0] == found[1] < 20


def _with_copies(count: int) -> Manifest:
    """Return the manifest of the tests with so many copies of its things."""
    things = MANIFEST.tables["things"]
    copies = {f"things_{number}": attrs.evolve(things, name=f"things_{number}") for number in range(count)}
    return attrs.evolve(MANIFEST, tables={**MANIFEST.tables, **copies})
