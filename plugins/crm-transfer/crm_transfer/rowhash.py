"""Row hashes: how an import knows that a row, read by this mapping, was imported as it is.

A record may be made by several mappings (a file of leads, one of deals): its hash holds the digests of the last three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

import attrs

from crm_transfer.mapping import FileForm, RecordMap

Cells = Sequence[str]
_TAG: Final = 5
_DIGEST: Final = 21
_DIGESTS: Final = 3
"""Five characters of a digest name the mapping; three digests fit the 64 characters of a row hash."""
_REMEMBERED: Final = 10_000
_SHORT: Final = 300
"""How many digests of rows that repeat are remembered, and how long such rows may be: a few MB."""


def digest_of(spec: RecordMap, form: FileForm, used: set[int]) -> tuple[str, Callable[[Cells], str]]:
    """Return the tag of a record's mapping, and the function that digests what the mapping uses of a row."""
    plain = attrs.evolve(spec, place="", fields=tuple(attrs.evolve(field, place="") for field in spec.fields))
    salt = hashlib.blake2b(repr((plain, form)).encode(), digest_size=16)
    key, tag = salt.digest(), salt.hexdigest()[:_TAG]
    order = sorted(used)
    pick = itemgetter(*order) if len(order) > 1 else None
    blake2b = hashlib.blake2b

    def digest(cells: Cells) -> str:
        text = "\x1f".join(pick(cells)) if pick else cells[order[0]]
        return tag + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).hexdigest()

    if not (spec.repeats and pick):
        return tag, digest
    known: dict[str, str] = {}

    def remembered(cells: Cells) -> str:
        text = "\x1f".join(pick(cells))
        found = known.get(text)
        if found is None:
            found = digest(cells)
            if len(known) < _REMEMBERED and len(text) <= _SHORT:
                known[text] = found
        return found

    return tag, remembered


def is_same(stored: str | None, digest: str) -> bool:
    """Say whether a stored row hash, which holds the digests of up to three mappings, has this one."""
    if stored is None or stored == digest:
        return stored is not None
    return any(stored[at : at + _DIGEST] == digest for at in range(0, len(stored), _DIGEST))


def with_digest(stored: str | None, digest: str | None, tag: str) -> str | None:
    """Return the row hash with this mapping's digest replaced (None: taken out); the newest of the others stay."""
    if not stored:
        return digest
    parts = [stored[at : at + _DIGEST] for at in range(0, len(stored), _DIGEST)]
    others = [part for part in parts if part[:_TAG] != tag]
    return "".join([digest, *others][:_DIGESTS]) if digest else "".join(others[:_DIGESTS]) or None
