"""The part of the storage kit about the ledger: its positions, and the links of its hash chain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from crm_core.extend.storage import Storage
from crm_core.query.ast import SortKey
from crm_core.testing.steps import elsewhere, write


class LedgerContract:
    """What a storage promises of the ledger's transactions; see `StorageContract`."""

    def test_ledger_positions_are_dense_and_in_the_order_of_commits(self, storage: Storage) -> None:
        def append(id_: int) -> int:
            return write(storage, lambda: storage.append_ledger(["id", "notes"], (id_, "n")))

        with ThreadPoolExecutor(4) as threads:
            positions = list(threads.map(append, range(1, 41)))
        assert list(range(1, 41)) == sorted(positions)
        rows = storage.find("ledger_transactions", sort=[SortKey("position")], columns=["position", "id"])
        assert [(position, id_) for id_, position in sorted(enumerate(positions, 1), key=lambda pair: pair[1])] == rows
        storage.begin()
        assert 41 == storage.append_ledger(["id", "notes"], (1000, "n"))
        storage.rollback()
        assert 41 == append(1001)

    def test_each_link_is_made_of_the_one_before_it(self, storage: Storage) -> None:
        made: dict[int, str] = {}

        def link(position: int, previous: str | None) -> str:
            assert made.get(position - 1) == previous
            made[position] = f"link {position}"
            return made[position]

        def append(id_: int) -> int:
            return write(storage, lambda: storage.append_linked(["id", "notes"], (id_, "n"), link))

        assert [1, 2, 3] == [append(3), elsewhere(lambda: append(1)), append(2)]
        storage.begin()
        assert 4 == storage.append_linked(["id", "notes"], (4, "taken back"), link)
        storage.rollback()
        assert 4 == append(5)
        storage.begin()
        assert [5, 6] == [storage.append_linked(["id", "notes"], (id_, None), link) for id_ in (7, 6)]
        storage.commit()
        rows = storage.find("ledger_transactions", sort=[SortKey("position")], columns=["position", "id", "chain"])
        assert [(at, id_, f"link {at}") for at, id_ in enumerate((3, 1, 2, 5, 7, 6), 1)] == rows
        assert [None, *(f"link {at}" for at in range(1, 7)), None] == [storage.link_before(at) for at in range(1, 9)]
        assert 7 == write(storage, lambda: storage.append_ledger(["id", "notes"], (8, "older than the chain")))
        assert None is storage.link_before(8)
