"""Row hashes: how an import knows that a row, read by this mapping, was imported as it is.

A record may be made by several mappings (a file of leads, one of deals): its hash holds the digests of the last three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import attrs

from crm_transfer.mapping import FileForm, RecordMap

Cells = Sequence[str]
_TAG: Final = 5
_DIGEST: Final = 21
_DIGESTS: Final = 3
"""Five characters of a digest name the mapping; three digests fit the 64 characters of a row hash."""


def digest_of(
    spec: RecordMap, form: FileForm, used: set[int]
) -> tuple[str, Callable[[Cells], str], Callable[[str], str]]:
    """Return the tag of a record's mapping, what it uses of a row as one text, and the digest of such a text."""
    plain = attrs.evolve(spec, place="", fields=tuple(attrs.evolve(field, place="") for field in spec.fields))
    salt = hashlib.blake2b(repr((plain, form)).encode(), digest_size=16)
    tag, keyed = salt.hexdigest()[:_TAG], hashlib.blake2b(digest_size=8, key=salt.digest())
    order, several = sorted(used), len(used) > 1
    pick: Callable[[Cells], Any] = itemgetter(*order) if order else lambda cells: ""

    def content(cells: Cells) -> str:
        found = pick(cells)
        return "\x1f".join(found) if several else str(found)

    def digest(content: str) -> str:
        made = keyed.copy()
        made.update(content.encode("utf-8", "surrogatepass"))
        return tag + made.hexdigest()

    return tag, content, digest


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
