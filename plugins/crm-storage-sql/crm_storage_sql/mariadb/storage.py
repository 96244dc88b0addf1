"""The MariaDB storage.

MariaDB checks foreign keys at each statement, not at commit, where the contract leaves the order of writes free: so the
storage itself looks at references, in the last step before commit, and keeps what it has seen as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Final

import attrs

from crm_core.errors import CrmError, NotADatabase, StorageConflict, StorageError
from crm_core.extend import StorageStatus, TableRows, Update
from crm_core.extend.storage import LEDGER_HEAD
from crm_core.records.schema import Manifest, Row
from crm_core.values import format_id
from crm_storage_sql.dialect import MARIADB, quote
from crm_storage_sql.mariadb.ddl import MariadbDdl
from crm_storage_sql.mariadb.session import COLLATION, MariadbSession, arguments, code_of, connected, driver, said
from crm_storage_sql.room import MANIFEST
from crm_storage_sql.server import ServerStorage
from crm_storage_sql.server_ddl import ServerDdl
from crm_storage_sql.server_url import Server
from crm_storage_sql.views import Forms
from crm_storage_sql.where import table_of

_NO_DATABASE, _DATABASE_EXISTS = 1049, 1007
_NEW, _OLD = "crm_new_", "crm_old_"
"""What tables are called before they take the places of others, and those others after; a number follows."""
_TRIES: Final = 10
"""How often a replacement gives way to those who wrote to several tables when it came."""


class MariadbStorage(ServerStorage[MariadbSession]):
    """One MariaDB database."""

    dialect = MARIADB
    forms = Forms(
        day="DATE_FORMAT(DATE_ADD('1970-01-01', INTERVAL {0} DAY), '%Y-%m-%d')",
        date="DATE_FORMAT(DATE_ADD('1970-01-01 00:00:00', INTERVAL ({0}) SECOND), '%Y-%m-%d')",
        instant="DATE_FORMAT(DATE_ADD('1970-01-01 00:00:00', INTERVAL {0} SECOND), '%Y-%m-%dT%H:%i:%s')",
        fraction="CONCAT('.', LPAD({0}, 6, '0'), 'Z')",
        text="CAST({0} AS CHAR)",
        decimal="CONCAT(IF({0} < 0, '-', ''), ABS({0} DIV {unit}), '.', LPAD(ABS(MOD({0}, {unit})), {digits}, '0'))",
        quotient="({0} DIV {1})",
        remainder="MOD({0}, {1})",
        joined="CONCAT({0}, {1})",
    )

    def __init__(self, server: Server) -> None:
        self._references: dict[str, dict[str, str]] = {}
        """Per table its columns that hold references, with the table they point at."""
        super().__init__(server)

    def use(self, manifest: Manifest) -> None:
        """Read rows in the order of this manifest from now on."""
        super().use(manifest)
        self._references.clear()

    # -- writes ------------------------------------------------------------------------------------------------------

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows; what they point at is looked for before the commit."""
        super().insert_many(table, columns, rows)
        self._note_references(table, columns, rows)

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those of the same `id` whole.

        Not by ON DUPLICATE KEY UPDATE, which takes a row that has another unique key in common for the same one.
        """
        session = self._writer()
        known = table_of(self._known, table)
        insert = self.insert_statement(known, columns)
        at = {name: place for place, name in enumerate(columns)}
        others = [name for name in known.column_names if name != "id"]
        update = f"UPDATE {quote(table)} SET {', '.join(f'{quote(name)} = %s' for name in others)} WHERE id = %s"
        for row in rows:
            cells = [row[at[name]] if name in at else None for name in others]
            if not session.run(update, (*cells, row[at["id"]]), table):
                session.insert(insert, known, columns, [row])
        self._note_references(table, columns, rows)

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        """Write each update whose row still has its version; return the ids of the others."""
        stale = super().update_if_version(table, updates)
        for update in updates:
            self._note_references(table, list(update.changes), [tuple(update.changes.values())])
        return stale

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        """Delete the rows of (id, version) pairs; who still points at them is looked for before the commit."""
        stale = super().delete(table, keys)
        self._writer().deleted.setdefault(table, set()).update(key[0] for key in keys if key[0] not in stale)
        return stale

    def next_position(self, session: MariadbSession) -> int:
        """Check references before the head is taken, so that others do not wait for that; then move it."""
        self._check_references(session)
        head = f"INSERT INTO {LEDGER_HEAD} (id, position) VALUES (1, LAST_INSERT_ID(1))"
        session.run(f"{head} ON DUPLICATE KEY UPDATE position = LAST_INSERT_ID(position + 1)", (), LEDGER_HEAD)
        return session.last_id()

    def commit(self) -> None:
        """Make this thread's transaction durable, when its references hold."""
        session = self._session()
        if session.mode == "write" and not session.failed:
            try:
                self._check_references(session)
            except CrmError:
                session.rollback()
                raise
        super().commit()

    # -- the rest ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the database where it is missing; refuse one of another program."""
        try:
            session = self._session()
        except StorageError as error:
            if error.__cause__ is None or code_of(error.__cause__) != _NO_DATABASE:
                raise
            self._create_database()
            session = self._session()
        if not self.is_claimed(session):
            others = session.read("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
            if others and not self.is_claimed(session):
                raise NotADatabase(
                    f"{self.title} holds tables of another program, {others[0][0]} for one",
                    hint="name an empty database in the storage URL",
                )

    def open_session(self) -> MariadbSession:
        """Open a connection."""
        return MariadbSession(self.server)

    def has_manifest(self, session: MariadbSession) -> bool:
        """Return whether the database has the table of the manifest."""
        question = "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
        return bool(session.read(question, (MANIFEST,))[0][0])

    def refresh_statistics(self, session: MariadbSession, tables: Sequence[str]) -> bool:
        """Refresh what the planner knows from a sample of pages."""
        session.read(f"ANALYZE TABLE {', '.join(map(quote, tables))}")
        return True

    def ddl(self, session: MariadbSession, manifest: Manifest) -> MariadbDdl:
        """Return what writes the schema changes."""

        def run(statement: str) -> None:
            try:
                session.change(statement)
            except session.errors as error:
                raise session.failure(error) from error

        return MariadbDdl(run, session.read, manifest)

    def changing(self, session: MariadbSession) -> AbstractContextManager[None]:
        """Make schema changes one by one: each is committed by itself."""
        return nullcontext()

    def refill(
        self, session: MariadbSession, ddl: ServerDdl, tables: Iterable[TableRows], before: Sequence[str]
    ) -> None:
        """Fill tables of other names, and rename all of them at once: before, others see what was there."""
        assert isinstance(ddl, MariadbDdl)
        manifest = ddl.manifest
        new = {name: f"{_NEW}{number}" for number, name in enumerate([MANIFEST, *manifest.tables])}
        ddl.create_manifest_table()  # an empty database is ours before tables of these names are in it
        self._sweep(ddl)  # what a run left that was killed
        try:
            ddl.create_manifest_table(new[MANIFEST])
            self.store_manifest(session, manifest, new[MANIFEST])
            for table in manifest.tables.values():
                ddl.create_table(table, new[table.name])
            for one in tables:
                known = table_of(manifest, one.table)
                statement = self.insert_statement(attrs.evolve(known, name=new[known.name]), one.columns)
                for rows in one.batches:
                    with self._writing(session):
                        session.insert(statement, known, one.columns, rows)
            self._rename(ddl, new, [MANIFEST, *before])
        except BaseException:
            with suppress(CrmError):
                self._sweep(ddl)
            raise
        self.renew_views(ddl, sorted({*before, *manifest.tables}))
        self._sweep(ddl)

    def scrub(self) -> str:
        """Drop what a killed replacement left, which nobody else would find; say what the server may keep besides."""
        with self.upgrading():
            session = self._session()
            self._sweep(self.ddl(session, self._known))
        return super().scrub()

    def _rename(self, ddl: MariadbDdl, new: dict[str, str], before: Sequence[str]) -> None:
        """Let the new tables take the places of those before: one statement, which MariaDB does whole or not at all."""
        away = [f"{quote(name)} TO {_OLD}{number}" for number, name in enumerate(before)]
        here = [f"{made} TO {quote(name)}" for name, made in new.items()]
        for left in reversed(range(_TRIES)):
            try:
                ddl.run(f"RENAME TABLE {', '.join([*away, *here])}")
            except StorageConflict:
                if not left:
                    raise
            else:
                return

    def _sweep(self, ddl: ServerDdl) -> None:
        """Drop the tables that are in nobody's place, or not any more."""
        for name in ddl.tables():
            if name.startswith((_NEW, _OLD)):
                ddl.drop_table(name)

    def take_upgrade_lock(self, session: MariadbSession) -> bool:
        """Take the named lock of this database."""
        return session.read("SELECT GET_LOCK(%s, %s)", (self._lock_name, self.server.timeout))[0][0] == 1

    def release_upgrade_lock(self, session: MariadbSession) -> None:
        """Give it back once."""
        session.read("SELECT RELEASE_LOCK(%s)", (self._lock_name,))

    def faults_inside(self, session: MariadbSession, tables: Sequence[str]) -> list[str]:
        """Let InnoDB read each table and its indexes."""
        return [
            f"{name}: {text}"
            for name in tables
            for _, _, kind, text in session.read(f"CHECK TABLE {quote(name)}")
            if str(kind).casefold() in ("error", "warning")
        ]

    def status(self) -> StorageStatus:
        """Return engine, place, bytes of the database, and the settings that matter for safety."""
        session = self._session()
        names = ("innodb_flush_log_at_trx_commit", "innodb_doublewrite", "sync_binlog")
        cells = ", ".join(f"@@{name}" for name in names)
        version, *values = map(str, session.read(f"SELECT version(), {cells}")[0])
        size = "SELECT CAST(coalesce(sum(data_length + index_length), 0) AS SIGNED) FROM information_schema.tables"
        (bytes_,) = session.read(f"{size} WHERE table_schema = DATABASE()")[0]
        return StorageStatus(
            engine=f"MariaDB {version.partition('-')[0]}",
            place=self.title,
            size=int(str(bytes_)),
            details={
                "isolation": "read committed, conditional writes",
                **dict(zip(names, values, strict=True)),
                "collation": COLLATION,
                "writers wait": f"{self.server.timeout:g} s",
                "search": "reads every row: MariaDB has no index over parts of words",
            },
        )

    @property
    def _lock_name(self) -> str:
        return f"crm-{hashlib.sha256(self.server.database.encode()).hexdigest()[:32]}"

    def _create_database(self) -> None:
        driver_, name = driver(), self.server.database.replace("`", "``")
        try:
            with connected(**arguments(self.server)) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE {COLLATION}")
        except driver_.MySQLError as error:
            if code_of(error) != _DATABASE_EXISTS:
                raise StorageError(
                    f"{self.title}: there is no such database, and it cannot be created: {said(error)}",
                    hint=f"have it created: CREATE DATABASE {self.server.database}",
                ) from error

    def _note_references(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        if table not in self._references:
            known = self._known.tables
            declared = {column.name: column.references for column in table_of(self._known, table).columns}
            self._references[table] = {name: parent for name, parent in declared.items() if parent in known}
        references = self._references[table]
        for place, name in enumerate(columns):
            if name in references:
                ids = self._writer().pointed_at.setdefault(references[name], {})
                ids.update((cell, table) for row in rows if isinstance(cell := row[place], int))

    def _check_references(self, session: MariadbSession) -> None:
        """Look for what this transaction points at, and for who points at what it deleted, and keep both as they are.

        Raises:
            StorageError: a record points at one that does not exist.
        """
        try:
            for table, ids in session.pointed_at.items():
                there = {row[0] for row in self._held(session, table, "id", list(ids))}
                for missing in ids.keys() - there:
                    raise _dangling(ids[missing], table, missing)
            for table, gone in session.deleted.items():
                for child, column in self._pointing(table) if gone else ():
                    for (id_,) in self._held(session, child, column, list(gone)):
                        raise _dangling(child, table, int(str(id_)))
        except CrmError:
            session.failed = True
            raise
        session.pointed_at.clear()
        session.deleted.clear()

    def _held(self, session: MariadbSession, table: str, column: str, values: Sequence[int]) -> list[Row]:
        side, parameters = self.dialect.members(values, "%s")
        statement = f"SELECT {quote(column)} FROM {quote(table)} WHERE {quote(column)} {side} LOCK IN SHARE MODE"
        return session.read(statement, parameters)

    def _pointing(self, table: str) -> Iterator[tuple[str, str]]:
        for child in self._known.tables.values():
            for column in child.columns:
                if column.references == table:
                    yield child.name, column.name


def _dangling(table: str, parent: str, id_: int) -> StorageError:
    return StorageError(
        f"{table}: a record points at {parent} {format_id(id_)}, which does not exist; nothing was written",
        hint="write the record that is pointed at first, or delete those that point at it",
    )
