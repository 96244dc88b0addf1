"""External ids of erased records: kept as digests, so that an import of such a key is recognised and refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Final

from crm_core.extend import Storage
from crm_core.query.ast import And, Compare, In

ERASED: Final = "erased"
"""The system, and the state, of the external ids of erased records."""

Name = tuple[str, str]


def erased_name(type_name: str, system: str, external: str) -> str:
    """Return the digest that stands for an erased external id.

    Whoever guesses the id can tell that it was erased: being recognised is what the digest is for.
    """
    return hashlib.sha256(json.dumps([type_name, system, external]).encode()).hexdigest()


def erased_records(storage: Storage, type_name: str, names: Iterable[Name]) -> dict[Name, int]:
    """Return the records whose external ids these were before they were erased, by (system, external id)."""
    of_type = (Compare("record_type", "=", type_name), Compare("system", "=", ERASED))
    if not storage.find("external_ids", And(of_type), limit=1, columns=["id"]):
        return {}
    digests = {erased_name(type_name, *name): name for name in names}
    where = And((*of_type, In("external", tuple(digests))))
    rows = storage.find("external_ids", where, columns=["external", "record_id"])
    return {digests[str(row[0])]: int(row[1] or 0) for row in rows}
