"""What the plugin hands to the host: the schemes of its databases. A driver is imported when a database is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crm_core import hookimpl
from crm_core.extend import Storage, StorageScheme


class StorageSql:
    """The hooks of crm-storage-sql."""

    @hookimpl
    def register_storages(self) -> Iterable[StorageScheme]:
        """Hand over SQLite, PostgreSQL and MariaDB."""
        return [
            StorageScheme(
                name="sqlite",
                schemes=("sqlite",),
                open=open_sqlite,
                embedded=True,
                help="one file beside crm.toml: sqlite:///crm.db, or sqlite:////srv/crm.db for an absolute path",
            ),
            StorageScheme(
                name="postgresql",
                schemes=("postgresql", "postgres"),
                open=open_postgresql,
                help="a database on a server: postgresql://crm@db.example.org/crm, ?schema=crm for a schema of its own",
            ),
            StorageScheme(
                name="mariadb",
                schemes=("mariadb", "mysql"),
                open=open_mariadb,
                help="a database on a server: mariadb://crm@db.example.org/crm",
            ),
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


def open_postgresql(url: str, options: Mapping[str, Any]) -> Storage:
    """Open a PostgreSQL database, creating an empty one when there is none.

    Args:
        url: `postgresql://user:password@host:port/database`, and after `?` parameters such as `sslmode=verify-full`.
        options: the `[storage]` table of `crm.toml`: see `crm_storage_sql.server_url`.

    Raises:
        UsageError: the URL or an option is not understood.
        StorageError: the driver is missing, the server does not answer, or the database is of another program.
    """
    from crm_storage_sql.postgresql.session import PARAMETERS
    from crm_storage_sql.postgresql.storage import PostgresqlStorage
    from crm_storage_sql.server_url import server_of

    return PostgresqlStorage(server_of(url, options, scheme="postgresql", known=PARAMETERS))


def open_mariadb(url: str, options: Mapping[str, Any]) -> Storage:
    """Open a MariaDB database, creating an empty one when there is none; as `open_postgresql`."""
    from crm_storage_sql.mariadb.session import PARAMETERS
    from crm_storage_sql.mariadb.storage import MariadbStorage
    from crm_storage_sql.server_url import server_of

    return MariadbStorage(server_of(url, options, scheme="mariadb", known=PARAMETERS))


plugin = StorageSql()
