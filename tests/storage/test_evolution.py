from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core.errors import NewerDatabase, StorageError
from crm_core.extend import DataMigration
from crm_core.extend.storage import Storage
from crm_core.ledger.evolution import (
    check_not_newer,
    describe,
    merged_manifest,
    plan_changes,
    prepare,
    upgrade,
    version_key,
)
from crm_core.memory import MemoryStorage
from crm_core.records.schema import (
    AddField,
    AddIndex,
    AddType,
    Column,
    DropIndex,
    Index,
    Manifest,
    Relax,
    Rename,
    SchemaChange,
    Table,
    Widen,
)
from crm_storage_sql.server import ServerStorage
from crm_storage_sql.server_ddl import ServerDdl
from tests.databases import DATABASES, OPENERS, drop_all, new_url

Opener = Callable[[], list[Storage]]
SYSTEM = tuple(Column(name, "int", nullable=False) for name in ("id", "version", "created_tx", "updated_tx"))


def manifest(*columns: Column, indexes: Sequence[Index] = (), version: str = "1.0") -> Manifest:
    table = Table("deals", (*SYSTEM, *columns), tuple(indexes))
    return Manifest({"deals": table}, {"crm-core": version})


def migration(to: str, *columns: str, change: Any = lambda rows: {}) -> DataMigration:
    return DataMigration(
        owner="crm-core", from_version="1.0", to_version=to, table="deals", columns=columns, change=change
    )


TITLE = Column("title", "text", max_length=100)
LONG = Column("title", "text")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, manifest(TITLE), [AddType(manifest(TITLE).tables["deals"])]),
        (manifest(TITLE), manifest(TITLE), []),
        (manifest(), manifest(TITLE), [AddField("deals", TITLE)]),
        (manifest(TITLE), manifest(), []),
        (manifest(TITLE), manifest(LONG), [Widen("deals", LONG)]),
        (
            manifest(attrs.evolve(TITLE, nullable=False)),
            manifest(TITLE),
            [Relax("deals", TITLE)],
        ),
        (manifest(attrs.evolve(TITLE, nullable=False)), manifest(), [Relax("deals", TITLE)]),
        (manifest(TITLE), manifest(TITLE, indexes=[Index(("title",))]), [AddIndex("deals", Index(("title",)))]),
        (manifest(TITLE, indexes=[Index(("title",))]), manifest(TITLE), [DropIndex("deals", Index(("title",)))]),
        (manifest(TITLE, indexes=[Index(("title",))]), manifest(), []),
        (
            manifest(TITLE, indexes=[Index(("title",))]),
            manifest(Column("name", "text", max_length=100, was="title"), indexes=[Index(("name",))]),
            [
                DropIndex("deals", Index(("title",))),
                Rename("deals", "title", Column("name", "text", max_length=100, was="title")),
                AddIndex("deals", Index(("name",))),
            ],
        ),
    ],
)
def test_changes_lead_from_what_is_stored_to_what_is_declared(
    before: Manifest | None, after: Manifest, expected: list[SchemaChange]
) -> None:
    assert expected == plan_changes(before, after)
    assert [] == plan_changes(merged_manifest(before, after), after)
    assert all(describe(change) for change in expected)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (TITLE, Column("title", "int"), "from text to integer;"),
        (
            Column("fields__score", "int", scale=2),
            Column("fields__score", "text", scale=2),
            r"the field fields\.score of deals changes its type from integer to text;",
        ),
        (Column("on", "int", meaning="day"), Column("on", "int", meaning="moment"), "from day to moment"),
        (Column("n", "int", meaning="decimal", scale=2), Column("n", "int", meaning="decimal", scale=4), "2 digits"),
        (TITLE, attrs.evolve(TITLE, nullable=False), "required"),
        (TITLE, attrs.evolve(TITLE, max_length=50), "from 100 to 50"),
        (attrs.evolve(TITLE, max_length=0), TITLE, "from any number of to 100"),
        (SYSTEM[0], attrs.evolve(TITLE, nullable=False), "is new and required"),
    ],
)
def test_what_could_lose_data_is_refused_and_points_to_a_data_migration(
    before: Column, after: Column, word: str
) -> None:
    stored = manifest() if before is SYSTEM[0] else manifest(before)
    with pytest.raises(StorageError, match=word) as error:
        plan_changes(stored, manifest(after))
    assert " of deals " in str(error.value)
    assert "DataMigration" in error.value.hint


def test_a_new_required_field_is_allowed_when_a_migration_fills_it(both: Opener) -> None:
    required = attrs.evolve(TITLE, nullable=False)
    for storage in both():
        upgrade(storage, manifest())
        storage.begin()
        storage.insert_many("deals", ("id", "version", "created_tx", "updated_tx"), [(1, 1, 1, 1)])
        storage.commit()
        fill = migration("1.1", "title", change=lambda rows: {row["id"]: {"title": "untitled"} for row in rows})
        report = upgrade(storage, manifest(required, version="1.1"), [fill])
        assert (1, [AddField("deals", required)]) == (report.rows, list(report.changes))
        assert [(1, 2, 1, 1, "untitled")] == storage.find("deals")
        storage.close()


def test_migrations_run_in_the_order_of_versions_and_only_those_between(both: Opener) -> None:
    ran: list[str] = []

    def noting(version: str) -> DataMigration:
        def change(rows: Sequence[Any]) -> dict[int, dict[str, Any]]:
            ran.append(version)
            return {}

        return migration(version, "title", change=change)

    for storage in both():
        ran.clear()
        upgrade(storage, manifest(TITLE, version="1.9"), [noting("1.2")])
        assert [] == ran
        storage.begin()
        storage.insert_many("deals", ("id", "version", "created_tx", "updated_tx"), [(1, 1, 1, 1)])
        storage.commit()
        steps = [noting(version) for version in ("1.12", "1.10", "1.8", "2.1")]
        upgrade(storage, manifest(TITLE, version="2.0"), steps)
        assert ["1.10", "1.12"] == ran
        storage.close()


def test_a_dry_run_changes_nothing(both: Opener) -> None:
    for storage in both():
        report = upgrade(storage, manifest(TITLE), dry_run=True)
        assert (True, True) == (report.needed, report.dry_run)
        assert None is storage.schema()
        storage.close()


def test_what_holds_nothing_or_less_than_is_declared_is_to_be_upgraded(both: Opener) -> None:
    for storage in both():
        assert prepare(storage, storage.schema(), manifest())
        upgrade(storage, manifest())
        assert not prepare(storage, storage.schema(), manifest())
        assert prepare(storage, storage.schema(), manifest(TITLE))
        storage.close()


def test_a_newer_kernel_or_declaring_plugin_is_named_and_others_do_not_matter() -> None:
    extended = Column("loyalty__points", "int", owner="crm-loyalty")
    owners = {"crm-core": "1.0", "crm-loyalty": "2.0", "crm-kpi": "9.0"}
    stored = attrs.evolve(manifest(extended), owners=owners)
    check_not_newer(stored, manifest())
    check_not_newer(stored, attrs.evolve(manifest(), owners={**owners, "crm-kpi": "1.0"}))
    with pytest.raises(NewerDatabase, match=r"crm-loyalty 2\.0") as error:
        check_not_newer(stored, attrs.evolve(manifest(), owners={**owners, "crm-loyalty": "1.9"}))
    assert "crm-loyalty>=2.0" in error.value.hint
    with pytest.raises(NewerDatabase, match="schema version 99"):
        check_not_newer(attrs.evolve(stored, version=99), manifest())


def test_versions_are_ordered_as_people_count() -> None:
    ordered = ["0.9", "0.10.dev1", "0.10a1", "0.10b2", "0.10rc1", "0.10", "0.10.1", "1.0", "1.1"]
    assert ordered == sorted(sorted(ordered), key=version_key)
    assert version_key("1.0") == version_key("1.0.0")


# Any sequence of declarations, on both storages

_limits = st.sampled_from([10, 20, 0])
_owners = st.sampled_from(["crm-core", "crm-loyalty"])


@st.composite
def histories(draw: st.DrawFn) -> list[Manifest]:
    """Draw declarations that follow each other: fields come, go, widen and are renamed, indexes come and go."""
    columns: dict[str, Column] = {}
    found = []
    for step in range(draw(st.integers(1, 5))):
        for name in draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True)):
            known = columns.get(name)
            limit = max(draw(_limits), known.max_length if known else 0)
            columns[name] = Column(name, "text", max_length=0 if known and known.max_length == 0 else limit)
        declared = [columns[name] for name in draw(st.permutations(sorted(columns))) if draw(st.booleans())]
        if declared and draw(st.booleans()):
            old = declared.pop()
            renamed = attrs.evolve(old, name=f"{old.name}{step}", was=old.name)
            columns.pop(old.name)
            columns[renamed.name] = attrs.evolve(renamed, was="")
            declared.append(renamed)
        indexes = [Index((column.name,), draw(st.booleans())) for column in declared if draw(st.booleans())]
        extra = {"loyalty": Table("loyalty", (*SYSTEM, Column("points", "int")), (), "crm-loyalty")}
        tables = {**manifest(*declared, indexes=indexes).tables, **(extra if draw(st.booleans()) else {})}
        found.append(Manifest(tables, {"crm-core": f"1.{step}", "crm-loyalty": "1.0"}))
    return found


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    yield str(request.param)
    drop_all()


@pytest.fixture
def both(database: str, tmp_path: Path) -> Callable[[], list[Storage]]:
    """Open an empty storage in memory, and one in the database."""

    def opened() -> list[Storage]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return [MemoryStorage(), OPENERS[database](new_url(database, folder), {})]

    return opened


def examples(database: str, most: int) -> Any:
    """Let a property have as many examples as the database is quick with tables: MariaDB makes ten a second."""
    share = {"sqlite": 1, "postgresql": 3, "mariadb": 15}[database]
    return settings(max_examples=most // share, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_any_sequence_of_declarations_evolves_both_storages_alike(both: Opener, database: str) -> None:
    @examples(database, 60)
    @given(history=histories())
    def holds(history: list[Manifest]) -> None:
        memory, stored = both()
        reached: Manifest | None = None
        for number, wanted in enumerate(history, 1):
            reached = merged_manifest(reached, wanted)
            row = (number, 1, 1, 1)
            for storage in (memory, stored):
                upgrade(storage, wanted)
                assert reached == storage.schema()
                storage.begin()
                storage.insert_many("deals", ("id", "version", "created_tx", "updated_tx"), [row])
                storage.commit()
            assert memory.find("deals") == stored.find("deals")
            assert number == memory.count("deals")
        memory.close()
        stored.close()

    holds()


class Killed(BaseException):
    pass


def kill_while_applying(storage: Storage, before: Manifest | None, target: Manifest, *, done: int) -> None:
    """Leave a storage as one is left that was killed after some of the changes."""
    changes = plan_changes(before, target)
    if not isinstance(storage, ServerStorage):
        # As a database whose DDL is not transactional: with some of the changes, and the manifest of before.
        storage.apply(changes[:done], before or Manifest({}, {}))
        return
    carry_out, left = ServerDdl.carry_out, done

    def dying(self: ServerDdl, change: SchemaChange) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        carry_out(self, change)

    def dead(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServerDdl, "carry_out", dying)
        patch.setattr(ServerStorage, "store_manifest", dead)
        with pytest.raises(Killed):
            storage.apply(changes, target)


def test_an_upgrade_killed_between_any_two_changes_converges_when_run_again(both: Opener, database: str) -> None:
    @examples(database, 30)
    @given(history=histories())
    def holds(history: list[Manifest]) -> None:
        before: Manifest | None = None
        for earlier in history[:-1]:
            before = merged_manifest(before, earlier)
        wanted = history[-1]
        changes = plan_changes(before, wanted)
        for done in range(len(changes) + 1):
            _, storage = both()
            for earlier in history[:-1]:
                upgrade(storage, earlier)
            kill_while_applying(storage, before, merged_manifest(before, wanted), done=done)
            upgrade(storage, wanted)
            assert merged_manifest(before, wanted) == storage.schema()
            assert [] == storage.find("deals")
            storage.close()

    holds()


def test_an_upgrade_killed_in_a_migration_goes_on_with_those_that_are_left(both: Opener) -> None:
    for storage in both():
        upgrade(storage, manifest(TITLE))
        storage.begin()
        columns = ("id", "version", "created_tx", "updated_tx", "title")
        storage.insert_many("deals", columns, [(1, 1, 1, 1, "a"), (2, 1, 1, 1, "a")])
        storage.commit()
        power = [False]

        def append(letter: str, power: list[bool] = power) -> DataMigration:
            def change(rows: Sequence[Any]) -> dict[int, dict[str, Any]]:
                if letter == "c" and not power[0]:
                    raise KeyboardInterrupt
                return {row["id"]: {"title": f"{row['title'][0]}{letter}{row['id']}"} for row in rows}

            return migration(f"1.{'abc'.index(letter)}", "title", change=change)

        unique = manifest(TITLE, indexes=[Index(("title",), unique=True)], version="1.3")
        with pytest.raises(KeyboardInterrupt):
            upgrade(storage, unique, [append("b"), append("c")])
        stored = storage.schema()
        assert stored is not None
        assert ({"crm-core": "1.1"}, ()) == (stored.owners, stored.tables["deals"].indexes)
        power[0] = True
        report = upgrade(storage, unique, [append("b"), append("c")])
        assert ["1.2"] == [one.to_version for one in report.migrations]
        assert [("ac1",), ("ac2",)] == storage.find("deals", columns=["title"])
        assert unique == storage.schema()
        storage.close()
