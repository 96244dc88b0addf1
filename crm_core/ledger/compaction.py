"""Giving up old images: the ledger grows smaller, and what was changed before a day can no longer be taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, cast

import attrs

from crm_core.extend import Storage
from crm_core.ledger.audit import emptied, images_of
from crm_core.ledger.chain import EMPTIED
from crm_core.ledger.delivery import Delivery
from crm_core.ledger.history import History
from crm_core.ledger.tables import IMAGES, TRANSACTIONS
from crm_core.ledger.work import UnitOfWork
from crm_core.query.ast import And, Compare, SortKey
from crm_core.records.schema import Row

_PAGE: Final = 200
_KEPT: Final = "restored"


@attrs.frozen(kw_only=True)
class CompactReport:
    """What a compaction gave up, or (dry run) would: images through a position, and in how many operations.

    `held_by` names subscribers that have not been told of all of it yet: what they wait for is kept. `left_over` says
    what the storage may still hold in its files, empty when nothing.
    """

    through: int
    transactions: int
    images: int
    operations: int
    held_by: tuple[str, ...] = ()
    left_over: str = ""
    dry_run: bool = False


class Compaction:
    """Compacts the ledger of one CRM."""

    def __init__(self, storage: Storage, work: UnitOfWork, history: History, delivery: Delivery) -> None:
        self._storage = storage
        self._work = work
        self._history = history
        self._delivery = delivery

    def run(self, before: int, told: str, *, dry_run: bool = False) -> CompactReport:
        """Empty the images of all transactions before an instant; what was created can still be undone.

        The mark that says so is written first and sealed, so that one that is killed halfway can be run again, and the
        chain holds at every step.

        Args:
            before: microseconds since 1970.
            told: the instant as the log shows it.
            dry_run: count, and write nothing.
        """
        through = self._last_before(before)
        waiting = self._delivery.behind(through)
        through = min([through, *(cursor.position for cursor in waiting)])
        report = self._counted(through, tuple(f"{cursor.plugin}.{cursor.hook}" for cursor in waiting), dry_run=dry_run)
        if dry_run or not report.images:
            return report
        final = "the images it would need were given up"
        with self._work.operation(f"compact the ledger before {told}", detail={"final": final, "through": through}):
            with self._work.transaction() as tx:
                tx.mark("compacted", through)
            for rows in self._images(through):
                self._empty(rows)
        return attrs.evolve(report, left_over=self._storage.scrub())

    def _last_before(self, before: int) -> int:
        where = Compare("at", ">=", before)
        later = self._storage.find(TRANSACTIONS.name, where, sort=[SortKey("position")], limit=1, columns=["position"])
        return cast(int, later[0][0]) - 1 if later else self._history.head()

    def _counted(self, through: int, held_by: tuple[str, ...], *, dry_run: bool) -> CompactReport:
        images, transactions, operations = 0, set[object](), set[object]()
        owner: dict[object, object] = {}
        for page in self._pages(through):
            owner = {row[0]: row[1] for row in page}
            for rows in images_of(self._storage, [cast(int, one) for one in owner]):
                mine = [row for row in rows if _is_full(row)]
                images += len(mine)
                transactions |= {row[1] for row in mine}
                operations |= {owner[row[1]] for row in mine}
        return CompactReport(
            through=through,
            transactions=len(transactions),
            images=images,
            operations=len(operations),
            held_by=held_by,
            dry_run=dry_run,
        )

    def _images(self, through: int) -> Iterator[list[Row]]:
        for page in self._pages(through):
            for rows in images_of(self._storage, [cast(int, row[0]) for row in page]):
                mine = [row for row in rows if _is_full(row)]
                if mine:
                    yield mine

    def _pages(self, through: int) -> Iterator[list[Row]]:
        """Yield (id, operation, position) of the transactions through a position."""
        last, columns = 0, ["id", "operation_id", "position"]
        while True:
            where = And((Compare("position", ">", last), Compare("position", "<=", through)))
            rows = self._storage.find(
                TRANSACTIONS.name, where, sort=[SortKey("position")], limit=_PAGE, columns=columns
            )
            if rows:
                yield rows
            if len(rows) < _PAGE:
                return
            last = cast(int, rows[-1][2])

    def _empty(self, rows: Sequence[Row]) -> None:
        self._storage.begin(write=True)
        try:
            self._storage.put_many(IMAGES.name, IMAGES.column_names, [emptied(row) for row in rows])
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise


def _is_full(image: Row) -> bool:
    """Whether there is something to give up in an image: marks, and notes that a record was put back, hold nothing."""
    return image[2] != IMAGES.name and image[4] != _KEPT and image[5] != EMPTIED


__all__ = ["CompactReport", "Compaction"]
