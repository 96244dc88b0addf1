"""A random walk over a storage beside the in-memory model: whatever is done, both answer the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crm_core.errors import CrmError
from crm_core.extend.storage import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.memory import MemoryStorage
from crm_core.query.ast import Expression, SortKey
from crm_core.records.schema import Row
from crm_core.testing.tables import MANIFEST, PARTS, THINGS, expressions, sorts, thing, things

_ids = st.integers(1, 6)


def storage_machine(open_new: Callable[[], Storage], reopen: Callable[[Storage], Storage]) -> type[StorageWalk]:
    """Return the machine that drives a storage: `open_new` makes an empty one, `reopen` closes and opens it again."""

    class Walk(StorageWalk):
        steps = 0

        def open_new(self) -> Storage:
            return open_new()

        def reopen(self, storage: Storage) -> Storage:
            return reopen(storage)

    return Walk


class StorageWalk(RuleBasedStateMachine):
    """Create, read, change, delete, filter, sort, page, commit, roll back, reopen: on the storage and on the model.

    `steps` counts on the class what was done and compared, over all walks.
    """

    steps: ClassVar[int] = 0

    def open_new(self) -> Storage:
        """Return an empty storage."""
        raise NotImplementedError

    def reopen(self, storage: Storage) -> Storage:
        """Close a storage and open it again."""
        raise NotImplementedError

    @initialize()
    def open(self) -> None:
        """Set both up."""
        self.storage, self.model = self.open_new(), MemoryStorage()
        for one in (self.storage, self.model):
            upgrade(one, MANIFEST)
        self.writing = False
        type(self).steps -= 1  # what follows this is no step

    @invariant()
    def counted(self) -> None:
        """Count a step."""
        type(self).steps += 1

    @precondition(lambda self: not self.writing)
    @rule()
    def begin(self) -> None:
        """Start a transaction."""
        self._both(lambda storage: storage.begin())
        self.writing = True

    @precondition(lambda self: self.writing)
    @rule()
    def commit(self) -> None:
        """Commit; both refuse after a failed write."""
        self._both(lambda storage: storage.commit())
        self.writing = False

    @rule()
    def roll_back(self) -> None:
        """Roll back, also where there is nothing to."""
        self._both(lambda storage: storage.rollback())
        self.writing = False

    @precondition(lambda self: not self.writing)
    @rule()
    def close_and_open(self) -> None:
        """Reopen; nothing may be lost."""
        self.storage = self.reopen(self.storage)
        upgrade(self.storage, MANIFEST)

    @rule(cells=st.lists(st.tuples(_ids, things), max_size=3))
    def insert(self, cells: list[tuple[int, dict[str, Any]]]) -> None:
        """Insert rows, of which some ids or codes may be taken."""
        rows = [thing(id_, **content) for id_, content in cells]
        self._write(lambda storage: storage.insert_many("things", THINGS.column_names, rows))

    @rule(id_=_ids, cells=things, left_out=st.sampled_from(["", "name", "size"]))
    def put(self, id_: int, cells: dict[str, Any], left_out: str) -> None:
        """Insert or replace a row, whole or without one of its columns."""
        named = dict(zip(THINGS.column_names, thing(id_, **cells), strict=True))
        named.pop(left_out, None)
        self._write(lambda storage: storage.put_many("things", list(named), [tuple(named.values())]))

    @rule(id_=_ids, version=st.integers(1, 4), cells=things)
    def update(self, id_: int, version: int, cells: dict[str, Any]) -> None:
        """Change some columns of a row, at a version that may be stale."""
        changes = {name: cells[name] for name in ("size", "group", "code")}
        self._write(lambda storage: storage.update_if_version("things", [Update(id_, version, changes)]))

    @rule(id_=_ids)
    def update_current(self, id_: int) -> None:
        """Change a row at the version it has, twice in one call: the second is stale."""
        found = self.model.get_many("things", [id_])
        version = found[0][1] if found else 1
        assert isinstance(version, int)
        updates = [Update(id_, version, {"size": 7}), Update(id_, version, {"size": 8})]
        self._write(lambda storage: storage.update_if_version("things", updates))

    @rule(keys=st.lists(st.tuples(_ids, st.integers(1, 2)), max_size=3))
    def delete(self, keys: list[tuple[int, int]]) -> None:
        """Delete rows, of which some are gone or of another version."""
        self._write(lambda storage: storage.delete("things", keys))

    @rule(id_=_ids, thing_id=_ids, label=st.none() | st.sampled_from("ab"))
    def add_part(self, id_: int, thing_id: int, label: str | None) -> None:
        """Write a child row."""
        self._write(lambda storage: storage.put_many("parts", PARTS.column_names, [(id_, 1, 1, 1, thing_id, label)]))

    @rule(id_=st.integers(1, 1000))
    def append(self, id_: int) -> None:
        """Append to the ledger."""
        self._write(lambda storage: storage.append_ledger(["id", "notes"], (id_, "note")))

    @rule(id_=st.integers(1, 1000))
    def append_linked(self, id_: int) -> None:
        """Append to the ledger with a link, made of the one before."""

        def link(position: int, previous: str | None) -> str:
            return f"{position} after {previous}"[:40]

        self._write(lambda storage: storage.link_before(storage.append_linked(["id", "notes"], (id_, None), link) + 1))

    @rule(ids=st.lists(_ids, max_size=4))
    def get(self, ids: list[int]) -> None:
        """Read rows by id."""
        self._both(lambda storage: sorted(storage.get_many("things", ids), key=lambda row: str(row[0])))

    @rule(where=st.none() | expressions(), sort=sorts)
    def find(self, where: Expression | None, sort: list[SortKey]) -> None:
        """Filter, sort and count."""
        self._both(lambda storage: storage.find("things", where, sort=sort))
        self._both(lambda storage: storage.count("things", where))

    @rule(where=st.none() | expressions(), sort=sorts, limit=st.integers(1, 3))
    def page(self, where: Expression | None, sort: list[SortKey], limit: int) -> None:
        """Page through everything: the pages together are the whole list."""
        whole = self.storage.find("things", where, sort=sort)
        assert whole == pages(self.storage, where, sort, limit)
        assert whole == pages(self.model, where, sort, limit)

    @rule(batch=st.integers(1, 5))
    def scan(self, batch: int) -> None:
        """Read everything in batches."""
        self._both(
            lambda storage: [row for rows in storage.scan("things", ("size", "id"), batch=batch) for row in rows]
        )

    def teardown(self) -> None:
        """Close the storage."""
        if hasattr(self, "storage"):
            self.storage.close()

    def _write(self, action: Callable[[Storage], object]) -> None:
        """Write in the open transaction, else in one of its own: refused outside, most steps would write nothing.

        A transaction whose write failed is ended at once: what it reads from then on is nobody's promise.
        """
        alone = not self.writing
        if alone:
            self._both(lambda storage: storage.begin())
        failed = self._both(action)
        if alone or failed:
            self._both(lambda storage: storage.commit())
            self.writing = False
        self._both(lambda storage: storage.find("things"))

    def _both(self, action: Callable[[Storage], object]) -> bool:
        """Do it on both, and compare; return whether it failed, on both in the same way."""
        expected = _outcome(action, self.model)
        assert expected == _outcome(action, self.storage)
        return isinstance(expected, type)


def pages(storage: Storage, where: Expression | None, sort: list[SortKey], limit: int) -> list[Row]:
    """Return all rows that match, read page after page."""
    found: list[Row] = []
    after: list[Any] = []
    while rows := storage.find("things", where, sort=sort, after=after, limit=limit):
        found += rows
        names = [*(key.column for key in sort), "id"]
        after = [rows[-1][THINGS.column_names.index(name)] for name in names]
    return found


def _outcome(action: Callable[[Storage], object], storage: Storage) -> object:
    """Return what an action gives, or the class of the error it raises."""
    try:
        return action(storage)
    except CrmError as error:
        return type(error)
