"""Verifying a workspace's database as it is: nothing is upgraded, delivered or written on the way."""

from __future__ import annotations

from pathlib import Path

from crm_core.crm import opened_storage
from crm_core.ledger.verify import Check, verify
from crm_core.services.workspace import registry_of


def verify_workspace(url_or_dir: str | Path) -> list[Check]:
    """Read the whole database of a workspace and say what is wrong with it; see `crm_core.ledger.verify.verify`.

    Raises:
        CrmError: the database is so damaged that it cannot be read.
    """
    settings, host, storage = opened_storage(url_or_dir)
    try:
        registry = registry_of(settings, host)
        manifest = storage.schema()
        if manifest is not None:
            storage.use(manifest)
        return verify(storage, registry)
    finally:
        storage.close()
