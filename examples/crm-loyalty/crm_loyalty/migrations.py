"""Changes of what earlier versions stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crm_core.extend import DataMigration

_NEW_NAMES: Final = {"basic": "bronze", "plus": "silver", "top": "gold"}


def rename_tiers(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the new names by customer; run twice, it finds nothing left to rename.

    >>> rename_tiers([{"id": 7, "loyalty__tier": "plus"}, {"id": 8, "loyalty__tier": "gold"}])
    {7: {'loyalty__tier': 'silver'}}
    """
    return {
        row["id"]: {"loyalty__tier": _NEW_NAMES[row["loyalty__tier"]]}
        for row in rows
        if row["loyalty__tier"] in _NEW_NAMES
    }


MIGRATIONS: Final = (
    DataMigration(
        owner="crm-loyalty",
        from_version="0.1.0",
        to_version="0.2.0",
        table="customers",
        columns=("loyalty__tier",),
        change=rename_tiers,
    ),
)
