"""The part of the storage kit about analytic selects: where the data is or in memory, the answers are the same."""

from __future__ import annotations

from typing import Any

import pytest

from crm_core.errors import NumberTooLarge
from crm_core.extend.storage import Storage
from crm_core.testing.steps import fill
from crm_core.testing.tables import LARGEST, MANIFEST, thing


class AnalyticsContract:
    """What a storage promises of selects, and the kernel for those that have no SQL; see `StorageContract`."""

    def test_selects_run_where_the_data_is_as_they_do_in_memory(self, storage: Storage) -> None:
        if "execute" not in storage.capabilities:
            pytest.skip("NOT RUN: this storage has no SQL; the in-memory engine runs its selects")
        import sqlalchemy as sa

        from crm_core.query.functions import count_if, idiv, isum, nulls_last
        from crm_core.query.memory import run_in_memory
        from crm_core.query.tables import Tables

        groups = [None, "a", "A", "é", "a", None]
        fill(storage, [thing(n, size=None if n % 7 == 0 else n * 3 - 90, group=groups[n % 6]) for n in range(1, 61)])
        things = Tables(MANIFEST.tables).things
        total = isum(things.c.size)
        select = (
            sa.select(things.c.group, sa.func.count(), total, count_if(things.c.size > 0), idiv(total, sa.literal(7)))
            .where(things.c.group.in_(["a", "A", "é"]) | things.c.group.is_(None))
            .group_by(things.c.group)
            .order_by(nulls_last(things.c.group))
        )
        found = storage.execute(select)
        assert 4 == len(found)
        assert run_in_memory(select, storage) == found

    def test_sums_of_large_amounts_are_exact(self, storage: Storage) -> None:
        if "execute" not in storage.capabilities:
            pytest.skip("NOT RUN: this storage has no SQL; the in-memory engine runs its selects")
        import sqlalchemy as sa

        from crm_core.query.functions import idiv, isum
        from crm_core.query.tables import Tables

        # Amounts of any size up to 10^16: their sums are past what a floating-point number can tell apart.
        amounts = [(-1 if n % 3 == 0 else 1) * (10 ** (n % 17) + 7 * n + 1) for n in range(1, 101)]
        fill(storage, [thing(n, size=amount, group="a " if n % 2 else "a") for n, amount in enumerate(amounts, 1)])
        things = Tables(MANIFEST.tables).things
        size, total = things.c.size, isum(things.c.size)
        select: sa.Select[Any] = sa.select(
            things.c.group, total, sa.func.min(size), sa.func.max(size), idiv(total, sa.literal(-3))
        )
        expected = []
        for group, some in (("a", amounts[1::2]), ("a ", amounts[::2])):  # the even numbers, and the odd ones
            third = abs(sum(some)) // 3 * (1 if sum(some) < 0 else -1)
            expected.append((group, sum(some), min(some), max(some), third))
        assert expected == storage.execute(select.group_by(things.c.group).order_by(things.c.group))
        counted: list[Any] = [total, sa.func.count(sa.distinct(things.c.group))]
        whole = sa.select(*counted).where(size != amounts[0])
        assert [(sum(amounts[1:]), 2)] == storage.execute(whole)

    def test_a_sum_beyond_64_bits_is_told_and_never_a_wrong_number(self, storage: Storage) -> None:
        import sqlalchemy as sa

        from crm_core.query.functions import isum
        from crm_core.query.memory import run_in_memory
        from crm_core.query.tables import Tables

        def run(select: sa.Select[Any]) -> list[tuple[Any, ...]]:
            return storage.execute(select) if "execute" in storage.capabilities else run_in_memory(select, storage)

        fill(storage, [thing(1, size=LARGEST), thing(2, size=1), thing(3, size=-2)])
        size = Tables(MANIFEST.tables).things.c.size
        assert [(LARGEST - 2,)] == run(sa.select(isum(size)).where(size != 1))
        with pytest.raises(NumberTooLarge) as error:
            run(sa.select(isum(size)).where(size > 0))
        assert str(NumberTooLarge()) == str(error.value)
