"""Checking the hash chain over the ledger, naming its head, and giving up old images: what an auditor asks for."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import attrs

from crm_core.errors import UsageError
from crm_core.extend import Storage
from crm_core.ledger.chain import EMPTIED, KEYED, PLAIN, Chain, headers_of, image_digest
from crm_core.ledger.tables import HEAD, IMAGES, OPERATIONS, TRANSACTIONS
from crm_core.query.ast import And, Compare, In, SortKey
from crm_core.records.schema import Primitive, Row

_PAGE: Final = 200
_IMAGES: Final = 2_000


@attrs.frozen
class Break:
    """Where the chain does not hold: the position (0: of the ledger as a whole), and why in words."""

    position: int
    reason: str


@attrs.frozen(kw_only=True)
class ChainReport:
    """What a check of the chain found; `unchained` transactions are older than the chain, and not covered.

    `emptied` images were erased or compacted: their digests hold the chain. `broken` is the first break.
    """

    anchor: str
    position: int
    unchained: int
    plain: int
    keyed: int
    images: int
    emptied: int
    broken: Break | None

    @property
    def intact(self) -> bool:
        """Whether no break was found."""
        return self.broken is None


@attrs.define
class _Tally:
    """What a check has seen so far: the last position, its link, and counts."""

    position: int = 0
    link: str | None = None
    unchained: int = 0
    plain: int = 0
    keyed: int = 0
    images: int = 0
    emptied: int = 0


class Audit:
    """Checks the ledger of one storage."""

    def __init__(self, storage: Storage, chain: Chain) -> None:
        self._storage = storage
        self._chain = chain

    def anchor(self) -> str:
        """Return the head of the chain as text, `position:kind:digest`: kept elsewhere, it shows when the end is cut.

        Raises:
            UsageError: nothing is chained yet.
        """
        rows = self._storage.find(TRANSACTIONS.name, sort=[SortKey("position", descending=True)], limit=1)
        if not rows or rows[0][5] is None:
            raise UsageError("the ledger has no head yet", hint="the first change that is written begins the chain")
        return f"{rows[0][1]}:{rows[0][5]}"

    def verify(self, anchor: str | None = None) -> ChainReport:
        """Compute every link anew and compare; stops at the first that does not hold.

        Args:
            anchor: what `anchor` returned once: the ledger must still hold it.

        Raises:
            UsageError: the anchor is none.
            SettingsError: links were made with a key that is not at hand.
        """
        wanted = None if anchor is None else parse_anchor(anchor)
        self._storage.begin(write=False)
        try:
            tally = _Tally()
            broken = self._check(tally, wanted)
        finally:
            self._storage.rollback()
        return ChainReport(
            anchor=f"{tally.position}:{tally.link}" if tally.link else "",
            position=tally.position,
            unchained=tally.unchained,
            plain=tally.plain,
            keyed=tally.keyed,
            images=tally.images,
            emptied=tally.emptied,
            broken=broken,
        )

    def _check(self, tally: _Tally, wanted: tuple[int, str] | None) -> Break | None:
        erased, through = self._emptyings()
        for rows in _pages(self._storage):
            operations = {
                row[0]: row for row in self._storage.get_many(OPERATIONS.name, [_int(row[2]) for row in rows])
            }
            images = self._images([_int(row[0]) for row in rows])
            for row in rows:
                mine = images.get(_int(row[0]), [])
                reason = self._reason(tally, row, operations, mine)
                if not reason and any(_is_emptied(i) and i[0] not in erased for i in mine) and _int(row[1]) > through:
                    reason = "what it changed was taken out, and by no erasure or compaction"
                if not reason and wanted is not None and wanted == (row[1], wanted[1]) and row[5] != wanted[1]:
                    reason = "it is another one than the anchor says, or an older backup was restored and worked on"
                if reason:
                    return Break(tally.position + 1, reason)
                self._count(tally, row, mine)
        return self._whole(tally, wanted)

    def _reason(self, tally: _Tally, row: Row, operations: Mapping[Primitive, Row], images: Sequence[Row]) -> str:
        """Say why a transaction does not follow on what was seen; empty when it does."""
        position, link = _int(row[1]), row[5]
        if position != tally.position + 1:
            return "it is missing"
        if row[2] not in operations:
            return "the operation it belongs to is missing"
        if link is None:
            return "it has no link, though the one before it has" if tally.link else ""
        kind = str(link).partition(":")[0]
        if kind == PLAIN and tally.keyed:
            return "it was linked without the key, though one before it was linked with it"
        if kind == KEYED and self._chain.kind == PLAIN:
            raise UsageError(
                "the chain was made with a key, and the settings name none",
                hint='name its place in crm.toml: [ledger] key = {file = "..."} or {env = "..."}',
            )
        digests = [str(image[7]) if _is_emptied(image) else image_digest(image[6], image) for image in images]
        for header in headers_of(position, (row[0], *row[2:5]), operations[row[2]]):
            expected = self._chain.link(tally.link, header, digests, PLAIN if kind == PLAIN else KEYED)
            if hmac.compare_digest(expected, str(link)):
                return ""
        return "it, what it changed, or the operation it belongs to is not as it was written"

    def _count(self, tally: _Tally, row: Row, images: Sequence[Row]) -> None:
        kind = str(row[5] or "").partition(":")[0]
        tally.position, tally.link = _int(row[1]), None if row[5] is None else str(row[5])
        tally.unchained += kind == ""
        tally.plain += kind == PLAIN
        tally.keyed += kind == KEYED
        tally.images += len(images)
        tally.emptied += sum(map(_is_emptied, images))

    def _whole(self, tally: _Tally, wanted: tuple[int, str] | None) -> Break | None:
        """Check what no single transaction shows: the head, images of none, an end that was cut off."""
        heads = self._storage.get_many(HEAD.name, [1])
        head = _int(heads[0][1]) if heads else 0
        if head != tally.position:
            return Break(tally.position + 1, f"the ledger has {head:,} transactions by its head: the end is cut off")
        if wanted is not None and wanted[0] > tally.position:
            told = f"the anchor knows position {wanted[0]:,}: the end is cut off, or an older backup was restored"
            return Break(tally.position + 1, told)
        strays = self._storage.count(IMAGES.name) - tally.images
        return Break(0, f"images of no transaction: {strays:,}") if strays else None

    def _emptyings(self) -> tuple[set[int], int]:
        """Return the images that erasures emptied, and the position through which the ledger was compacted."""
        marks = self._storage.find(
            IMAGES.name, Compare("table_name", "=", IMAGES.name), columns=["record_id", "action"]
        )
        erased = {_int(row[0]) for row in marks if row[1] == "erased"}
        return erased, max((_int(row[0]) for row in marks if row[1] == "compacted"), default=0)

    def _images(self, tx_ids: Sequence[int]) -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = {}
        for rows in images_of(self._storage, tx_ids):
            for row in rows:
                found.setdefault(_int(row[1]), []).append(row)
        return found


def images_of(storage: Storage, tx_ids: Sequence[int]) -> Iterator[list[Row]]:
    """Yield the images of transactions in batches, by id."""
    last = 0
    while True:
        where = And((In("tx_id", tuple(tx_ids)), Compare("id", ">", last)))
        rows = storage.find(IMAGES.name, where, sort=[SortKey("id")], limit=_IMAGES)
        if rows:
            yield rows
        if len(rows) < _IMAGES:
            return
        last = _int(rows[-1][0])


def emptied(image: Row) -> Row:
    """Return an image without its content and salt; the digest that the chain covers stays."""
    return (*image[:5], EMPTIED, None, image_digest(image[6], image))


def parse_anchor(text: str) -> tuple[int, str]:
    """Read back what `Audit.anchor` returned.

    Raises:
        UsageError: it is no anchor.
    """
    position, _, link = text.strip().partition(":")
    kind, _, digest = link.partition(":")
    if not (position.isascii() and position.isdigit() and kind in (PLAIN, KEYED) and len(digest) == 64):
        raise UsageError(
            f"{text.strip()[:40]!r} is no anchor", hint="give what `crm ledger head` printed, such as 1234:keyed:5f..."
        )
    return int(position), link


def _pages(storage: Storage) -> Iterator[list[Row]]:
    last = -1
    while True:
        where = Compare("position", ">", last)
        rows = storage.find(TRANSACTIONS.name, where, sort=[SortKey("position")], limit=_PAGE)
        if rows:
            yield rows
        if len(rows) < _PAGE:
            return
        last = _int(rows[-1][1])


def _is_emptied(image: Row) -> bool:
    return image[5] == EMPTIED and image[6] is None and image[7] is not None


def _int(cell: object) -> int:
    return cast(int, cell)
