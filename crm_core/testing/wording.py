"""The part of the storage kit about text: each is only itself, whatever it is like, and none is cut or changed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from crm_core.extend.storage import Storage, Update
from crm_core.query.ast import Compare, Contains, In, Not, Operator
from crm_core.testing.steps import fill, ids, write
from crm_core.testing.tables import AWKWARD_TEXTS, THINGS, cell, thing

_COLUMNS: Final = THINGS.column_names
_COMPARED: Final[dict[Operator, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
LONG: Final = (256, 2**16 + 1, 1_100_000)
"""Characters of long texts, more than 255, 65,535 and 1,048,576 bytes, at which types and packets end."""


class TextContract:
    """What a storage promises of texts: compared by code point, kept to the last character; see `StorageContract`."""

    def test_every_text_is_compared_by_code_point(self, storage: Storage) -> None:
        texts = dict(enumerate(AWKWARD_TEXTS, 1))
        fill(storage, [thing(n, name=text, group=text) for n, text in texts.items()])
        for sought in AWKWARD_TEXTS:
            for column in ("name", "group"):
                for sign, holds in _COMPARED.items():
                    expected = [n for n, text in texts.items() if holds(text, sought)]
                    assert (sign, sought, expected) == (sign, sought, ids(storage, Compare(column, sign, sought)))
                itself = [n for n, text in texts.items() if text == sought]
                assert itself == ids(storage, In(column, (sought,))) == ids(storage, In(column, (sought, "no such")))
                others = [n for n in texts if n not in itself]
                assert others == ids(storage, Not(Compare(column, "=", sought)))
                assert [n for n, text in texts.items() if sought in text] == ids(storage, Contains(column, sought))

    def test_every_text_is_kept_however_it_is_written(self, storage: Storage) -> None:
        texts = dict(enumerate(AWKWARD_TEXTS, 1))
        kept = [thing(n, name=text) for n, text in texts.items()]
        fill(storage, kept)
        assert kept == storage.find("things")
        updates = [Update(n, 1, {"name": "", "group": text}) for n, text in texts.items()]
        assert [] == write(storage, lambda: storage.update_if_version("things", updates))
        changed = [thing(n, version=2, name="", group=text) for n, text in texts.items()]
        assert changed == storage.find("things")
        write(storage, lambda: storage.put_many("things", _COLUMNS, kept))
        assert kept == storage.find("things")

    def test_a_long_text_is_kept_to_its_last_character(self, storage: Storage) -> None:
        for at, length in enumerate(LONG):
            # Of two that differ in the last character only, each is found by itself; that has four bytes.
            one, other = ("é" * (length - 1) + last for last in "😀😁")
            number = 10 * at + 1
            fill(storage, [thing(number, name=one), thing(number + 1, name=other)])
            assert ([number], [number + 1]) == tuple(ids(storage, Compare("name", "=", text)) for text in (one, other))
            update, row = Update(number, 1, {"name": other}), thing(number + 1, name=one)
            assert [] == write(storage, partial(storage.update_if_version, "things", [update]))
            write(storage, partial(storage.put_many, "things", _COLUMNS, [row]))
            kept = [cell(row, "name") for row in sorted(storage.get_many("things", [number, number + 1]))]
            assert [len(other), len(one)] == [len(str(text)) for text in kept]
            assert [other, one] == kept
