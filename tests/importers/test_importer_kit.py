"""The kit of importers finds faults: each of these breaks one promise, and the claim about it does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.testing import ImporterContract, ImportSample, RefusedFile

CONTENT = """no|name|since
1|Ada|2020-01-01

2|سارا|2020-02-30
3|Արամ|2021-01-01
4|Zoë|2020-13-01
END
"""


class Kit(ImporterContract):
    """The suite as a vendor subclasses it; not named Test, because it is to fail."""

    plugins = (str(Path(__file__).with_name("faulty.py")),)

    def samples(self) -> list[ImportSample]:
        wrong = {4: ("since", "2020-02-29"), 6: ("since", "2020-12-01")}
        return [ImportSample(name="p.pipes", content=CONTENT.encode(), numbers=(2, 4, 5, 6), rejected=wrong)]

    def refused(self) -> list[RefusedFile]:
        return [RefusedFile(name="cut.pipes", content=CONTENT.replace("END\n", "").encode(), says="was cut off")]


@pytest.mark.database("sqlite")
class TestAGoodOne(Kit):
    importer = "pipes"


@pytest.mark.database("sqlite")
@pytest.mark.parametrize(
    ("faulty", "claim"),
    [
        ("doubles_rows", "test_every_row_is_read_once_under_its_number"),
        ("doubles_rows", "test_every_row_is_counted_and_errors_are_where_they_are"),
        ("loses_the_last_row", "test_every_row_is_read_once_under_its_number"),
        ("loses_the_last_row", "test_every_row_is_counted_and_errors_are_where_they_are"),
        ("numbers_from_zero", "test_every_row_is_read_once_under_its_number"),
        ("numbers_from_zero", "test_every_row_is_counted_and_errors_are_where_they_are"),
        ("counts_lines", "test_every_row_is_read_once_under_its_number"),
        ("forgets_a_cell", "test_rows_fit_their_columns"),
        ("loads_everything", "test_memory_does_not_grow_with_the_file"),
        ("refuses_on_the_way", "test_a_file_that_is_refused_leaves_nothing"),
        ("digests_something_else", "test_the_digest_is_that_of_the_bytes"),
        ("makes_up_keys", "test_reading_twice_gives_the_same_and_changes_nothing"),
        ("makes_up_keys", "test_importing_twice_changes_nothing"),
        ("writes_without_errors", "test_rejected_rows_can_be_corrected_and_imported"),
        ("writes_only_the_first", "test_rejected_rows_can_be_corrected_and_imported"),
        ("takes_everything", "test_it_is_found_by_the_file"),
    ],
)
def test_a_fault_is_found(faulty: str, claim: str, tmp_path: Path) -> None:
    kit = Kit()
    kit.importer = faulty  # type: ignore[misc]  # a class variable, set for one object
    test = getattr(kit, claim)
    with pytest.raises((AssertionError, ValueError)):
        test(tmp_path) if "tmp_path" in test.__code__.co_varnames[: test.__code__.co_argcount] else test()
