"""What the plugin hands to the host: the scheme `sqlite:`. The driver is imported when a database is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crm_core import hookimpl
from crm_core.extend import Storage, StorageScheme


class StorageSql:
    """The hooks of crm-storage-sql."""

    @hookimpl
    def register_storages(self) -> Iterable[StorageScheme]:
        """Hand over SQLite."""
        return [
            StorageScheme(
                name="sqlite",
                schemes=("sqlite",),
                open=open_sqlite,
                embedded=True,
                help="one file beside crm.toml: sqlite:///crm.db, or sqlite:////srv/crm.db for an absolute path",
            )
        ]


def open_sqlite(url: str, options: Mapping[str, Any]) -> Storage:
    """Open the SQLite database of a URL, creating an empty one when there is none.

    Args:
        url: `sqlite:///relative.db` (to `options["directory"]`, else the current folder) or `sqlite:////absolute.db`.
        options: the `[storage]` table of `crm.toml`: see `crm_storage_sql.url`.

    Raises:
        UsageError: the URL or an option is not understood.
        StorageError: the database cannot be opened, or is none.
    """
    from crm_storage_sql.storage import SqliteStorage
    from crm_storage_sql.url import place_of

    return SqliteStorage(place_of(url, options))


plugin = StorageSql()
