"""Verifying a workspace's database as it is, and making its indexes anew: nothing is upgraded or delivered."""

from __future__ import annotations

from pathlib import Path

from crm_core.errors import StorageError
from crm_core.ledger.verify import Check, verify
from crm_core.opening import opened_storage
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


def reindex_workspace(url_or_dir: str | Path) -> list[str]:
    """Make the indexes of a workspace's database anew from its rows; see `Storage.reindex`.

    Returns in words what was made: nothing, where the storage keeps no indexes.

    Raises:
        StorageError: the database is empty, or its rows cannot be read.
        DuplicateKey: two records have what only one may have.
    """
    _, _, storage = opened_storage(url_or_dir)
    try:
        manifest = storage.schema()
        if manifest is None:
            raise StorageError("the database is empty: there is nothing to index")
        storage.use(manifest)
        return storage.reindex()
    finally:
        storage.close()
