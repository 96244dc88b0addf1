"""Keys that come in ascending order are remembered in another way, and told apart as all others are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_transfer import ascending
from crm_transfer.spill import Spill

KEYS = st.lists(st.sampled_from([f"{at:02}" for at in range(30)]), max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from(["more", "again", "forget"]), KEYS), max_size=12)


def remembered(steps: Sequence[tuple[str, Sequence[str]]], *, in_order: bool) -> list[dict[int, int]]:
    """What is told of batches: of new rows, of the last rows once more, after keys of the last rows were forgotten."""
    told: list[dict[int, int]] = []
    row, last = 0, list[tuple[int, str]]()
    with Spill() as spill:
        if not in_order:
            spill._pour("0/0")
        for what, keys in steps:
            if what == "more":
                last = [(row + at, key) for at, key in enumerate(keys, 1)]
                row += len(keys)
            elif what == "forget":
                spill.forget("0/0", [pair for pair in last if pair[1] in keys])
            told.append(spill.first_rows("0/0", last))
    return told


@given(STEPS, st.booleans(), st.sampled_from([2, 20_000]))
def test_keys_in_any_order_are_told_apart_in_the_same_way(
    steps: list[tuple[str, list[str]]], sorts: bool, most: int
) -> None:
    if sorts:
        new = iter(sorted(key for what, keys in steps for key in keys if what == "more"))
        steps = [(what, [next(new) for _ in keys] if what == "more" else keys) for what, keys in steps]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ascending, "_MOST", most)
        assert remembered(steps, in_order=False) == remembered(steps, in_order=True)


def test_ascending_keys_stay_out_of_the_index_until_one_is_out_of_order() -> None:
    with Spill() as spill:

        def indexed() -> int:
            return int(spill._db.execute("SELECT count(*) FROM seen").fetchone()[0])

        for at in range(0, 100, 10):
            assert {} == spill.first_rows("0/0", [(row, f"{row:03}") for row in range(at, at + 10)])
        assert {100: 94} == spill.first_rows("0/0", [(100, "094")])
        assert 0 == indexed()
        assert {200: 5} == spill.first_rows("0/0", [(200, "005"), (201, "101")])
        assert 101 == indexed()
        assert {202: 201} == spill.first_rows("0/0", [(202, "101")])
