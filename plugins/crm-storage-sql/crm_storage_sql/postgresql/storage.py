"""The PostgreSQL storage."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from crm_core.errors import CrmError, NotADatabase, StorageConflict, StorageError
from crm_core.extend import StorageStatus, TableRows
from crm_core.extend.storage import LEDGER_HEAD, LEDGER_TRANSACTIONS
from crm_core.records.schema import Manifest, Row
from crm_storage_sql.dialect import POSTGRESQL, quote
from crm_storage_sql.postgresql.ddl import PostgresqlDdl, trigram_indexes
from crm_storage_sql.postgresql.session import PostgresqlSession, arguments, driver, said
from crm_storage_sql.room import MANIFEST, STALE_STATISTICS
from crm_storage_sql.server import ServerStorage
from crm_storage_sql.server_ddl import ServerDdl
from crm_storage_sql.views import Forms
from crm_storage_sql.where import table_of

_LOCK: Final = 0x43524D43
"""The first half of the key of the lock of upgrades, that of the line of writers is one higher; the second half tells
the schema."""
_THERE: Final = frozenset({"42P04", "23505"})
"""What a server says of a database that another process has created meanwhile."""
_TRIES: Final = 10
"""How often a replacement gives way to those who wrote to several tables when it came."""
_CORRUPT: Final = "XX"
"""What the states begin with by which amcheck tells of damage."""
_AMCHECK: Final = (
    "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'amcheck' AND "
    "has_function_privilege(to_regprocedure(format('%%I.bt_index_check(regclass, boolean)', n.nspname)), 'EXECUTE')"
)
"""Asks in which schema amcheck is, where it is and may be used."""
_TREES: Final = (
    "SELECT i.oid, i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
    "JOIN pg_class t ON t.oid = x.indrelid JOIN pg_am a ON a.oid = i.relam "
    "WHERE x.indisvalid AND a.amname = 'btree' AND t.relname = ANY(%s) "
    "AND i.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) ORDER BY i.relname"
)
_PUT_IN: Final = (
    "SELECT gin_clean_pending_list(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
    "JOIN pg_class t ON t.oid = x.indrelid JOIN pg_am a ON a.oid = i.relam WHERE a.amname = 'gin' AND x.indisvalid "
    "AND pg_has_role(i.relowner, 'USAGE') AND t.relname = ANY(%s) "
    "AND i.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
)
_SINCE: Final = "to_char(timestamp '1970-01-01' + {0} * interval '1 second', "


class PostgresqlStorage(ServerStorage[PostgresqlSession]):
    """One schema of a PostgreSQL database."""

    dialect = POSTGRESQL
    _growth = STALE_STATISTICS
    """Rows that this process has to insert before statistics are refreshed at a commit."""
    forms = Forms(
        day="to_char(timestamp '1970-01-01' + {0} * interval '1 day', 'YYYY-MM-DD')",
        date=_SINCE.replace("{0}", "({0})") + "'YYYY-MM-DD')",
        instant=_SINCE + "'YYYY-MM-DD\"T\"HH24:MI:SS')",
        fraction="('.' || lpad(({0})::text, 6, '0') || 'Z')",
        text="({0})::text",
        decimal="(CASE WHEN {0} < 0 THEN '-' ELSE '' END || abs({0} / {unit})::text || '.' || "
        "lpad(abs(mod({0}, {unit}))::text, {digits}, '0'))",
        quotient="({0} / {1})",
        remainder="mod({0}, {1})",
    )

    def prepare(self) -> None:
        """Create database and schema where they are missing; refuse one of another program."""
        try:
            session = self._session()
        except StorageError:
            if not self._create_database():
                raise
            session = self._session()
        if self.server.parameters.get("schema") and not session.read("SELECT current_schema()")[0][0]:
            with suppress(StorageError):  # where another process was faster
                self._run(session, f"CREATE SCHEMA IF NOT EXISTS {quote(self.server.parameters['schema'])}")
        if not self.is_claimed(session):
            others = session.read("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LIMIT 1")
            if others and not self.is_claimed(session):
                raise NotADatabase(
                    f"{self.title} holds tables of another program, {others[0][0]} for one",
                    hint="name an empty database in the storage URL, or a schema of its own: ?schema=crm",
                )

    def open_session(self) -> PostgresqlSession:
        """Open a connection."""
        return PostgresqlSession(self.server)

    def has_manifest(self, session: PostgresqlSession) -> bool:
        """Return whether the schema has the table of the manifest."""
        question = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = %s"
        return bool(session.read(question, (MANIFEST,))[0][0])

    def refresh_statistics(self, session: PostgresqlSession, tables: Sequence[str]) -> bool:
        """Refresh what the planner knows, and put new texts into the trigram indexes, beside which they are kept.

        The server does so by itself, but a minute later; until then each search reads all that is kept there.
        """
        self._analyze(session, tables)
        session.read(_PUT_IN, (list(tables),))
        return True

    def _analyze(self, session: PostgresqlSession, tables: Sequence[str]) -> None:
        for table in tables:
            self._run(session, f"ANALYZE {quote(table)}")

    def commit(self) -> None:
        """Make this thread's transaction durable; then, of tables that have grown much, tell the planner so.

        Of a table that it has never looked at it believes that two conditions leave one row, and reads all rows of them
        for each chunk of an import. Each time twice as much has to be new, so that this costs next to nothing.
        """
        super().commit()
        if self._inserted.total() >= self._growth:
            self._growth *= 2
            with suppress(CrmError):  # what was committed is committed; the server does it by itself, but later
                self._analyze(self._session(), list(self._inserted))

    def next_position(self, session: PostgresqlSession) -> int:
        """Stand in line, then move the head."""
        self._run(session, self._standing_in_line)
        return super().next_position(session)

    def append_linked(self, columns: Sequence[str], row: Row, link: Callable[[int, str | None], str]) -> int:
        """Move the head and read the link before it in one way, and leave the transaction row to the commit.

        All others wait meanwhile: with a way for each statement, twenty writers waited a third longer.
        """
        session = self._writer()
        before = f"SELECT chain FROM {LEDGER_TRANSACTIONS} t WHERE t.position = h.position - 1"
        ((position, previous),) = session.last_rows(
            f"{self._standing_in_line}; INSERT INTO {LEDGER_HEAD} (id, position) VALUES (1, 1) "
            f"ON CONFLICT (id) DO UPDATE SET position = {LEDGER_HEAD}.position + 1; "
            f"SELECT h.position, ({before}) FROM {LEDGER_HEAD} h WHERE h.id = 1"
        )
        assert isinstance(position, int)
        known = table_of(self._known, LEDGER_TRANSACTIONS)
        linked = (*row, position, link(position, None if previous is None else str(previous)))
        session.put_off = (self.insert_statement(known, [*columns, "position", "chain"]), linked)
        return position

    @property
    def _standing_in_line(self) -> str:
        """Check references before the head is taken, so that others do not wait for that; stand in line.

        A row's lock goes to whoever asks at the right moment, and of twenty writers some wait three times as long as
        the others; an advisory lock goes to who has waited longest.
        """
        line, key = self._lock_key
        checked = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
        return f"{checked}; SELECT pg_advisory_xact_lock({line + 1}, {key})"

    def ddl(self, session: PostgresqlSession, manifest: Manifest) -> PostgresqlDdl:
        """Return what writes the schema changes."""
        return PostgresqlDdl(lambda statement: self._run(session, statement), session.read, manifest)

    @contextmanager
    def changing(self, session: PostgresqlSession) -> Iterator[None]:
        """Make all schema changes in one transaction."""
        with self._writing(session):
            yield

    def refill(
        self, session: PostgresqlSession, ddl: ServerDdl, tables: Iterable[TableRows], before: Sequence[str]
    ) -> None:
        """Drop and create everything in one transaction, for which others wait; indexes come after the rows."""
        assert isinstance(ddl, PostgresqlDdl)
        manifest = ddl.manifest
        self._begin_alone(session, ddl, before)
        with self._ending(session):
            ddl.drop_views(before)
            if before:
                ddl.run(f"DROP TABLE {', '.join(map(quote, before))}")
            for table in manifest.tables.values():
                ddl.create_bare(table)
            ddl.flush()
            for one in tables:
                known = table_of(manifest, one.table)
                statement = self.insert_statement(known, one.columns)
                for rows in one.batches:
                    session.insert(statement, known, one.columns, rows)
            for table in manifest.tables.values():
                ddl.create_indexes(table)
                ddl.search_by(table.name, table.searched)
            ddl.finish()
            self.renew_views(ddl, manifest.tables)
            ddl.flush()
            self.store_manifest(session, manifest)

    def _begin_alone(self, session: PostgresqlSession, ddl: PostgresqlDdl, names: Sequence[str]) -> None:
        """Begin a transaction in which nobody else uses these tables, or reads a snapshot."""
        locked = ", ".join(map(quote, [MANIFEST, *names]))
        for left in reversed(range(_TRIES)):
            session.begin(write=True)
            try:
                ddl.create_manifest_table()
                ddl.flush()
                self._run(session, f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE")
            except BaseException as error:
                session.rollback()
                if not left or not isinstance(error, StorageConflict):
                    raise
            else:
                return

    def take_upgrade_lock(self, session: PostgresqlSession) -> bool:
        """Take the advisory lock of this schema."""
        deadline = time.monotonic() + self.server.timeout
        while not session.read("SELECT pg_try_advisory_lock(%s, %s)", self._lock_key)[0][0]:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def release_upgrade_lock(self, session: PostgresqlSession) -> None:
        """Give it back once."""
        session.read("SELECT pg_advisory_unlock(%s, %s)", self._lock_key)

    def faults_inside(self, session: PostgresqlSession, tables: Sequence[str]) -> list[str]:
        """Let amcheck compare each B-tree with the rows, where this database has it."""
        found: list[str] = []
        for (schema,) in session.read(_AMCHECK):
            for oid, name in session.read(_TREES, (list(tables),)):
                try:
                    session.read(f"SELECT {schema}.bt_index_check(%s::oid::regclass, true)", (oid,))
                except CrmError as error:
                    if not str(getattr(error.__cause__, "sqlstate", "")).startswith(_CORRUPT):
                        raise
                    found.append(f"the index {name} is damaged: {error.__cause__}")
        return found

    def unchecked_indexes(self) -> str:
        """Say what amcheck cannot look at, or that it is not there."""
        session = self._session()
        if not session.read(_AMCHECK):
            return "whether they hold what the rows say: that takes the extension amcheck (CREATE EXTENSION amcheck)"
        told = "whether trigram indexes hold what the rows say: amcheck does not compare GIN indexes with rows; "
        return f"{told}crm storage reindex makes them anew" if trigram_indexes(session.read) else ""

    def status(self) -> StorageStatus:
        """Return engine, place, bytes of the database, and the settings that matter for safety."""
        session = self._session()
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "server_encoding", "jit")
        cells = ", ".join(f"current_setting('{name}')" for name in names)
        row = session.read(f"SELECT pg_database_size(current_database()), current_schema(), {cells}")[0]
        version, *values = map(str, row[2:])
        details = {name.replace("_", " "): value for name, value in zip(names[1:], values, strict=True)}
        return StorageStatus(
            engine=f"PostgreSQL {version.split()[0]}",
            place=self.title,
            size=int(str(row[0])),
            details={
                "schema": str(row[1]),
                "isolation": "read committed, conditional writes",
                **details,
                "writers wait": f"{self.server.timeout:g} s",
                "search": "trigram indexes (pg_trgm)"
                if trigram_indexes(session.read)
                else "reads every row: the extension pg_trgm was not there when the tables were made",
            },
        )

    @property
    def _lock_key(self) -> tuple[int, int]:
        schema = self.server.parameters.get("schema", "")
        return _LOCK, zlib.crc32(schema.encode()) - 2**31

    def _run(self, session: PostgresqlSession, statement: str) -> None:
        try:
            session.change(statement)
        except session.errors as error:
            raise session.failure(error) from error

    def _create_database(self) -> bool:
        """Create the database if it is what is missing; returns whether it is there now."""
        driver_ = driver()
        name = self.server.database
        try:
            with driver_.connect(**{**arguments(self.server), "dbname": "postgres"}, autocommit=True) as connection:
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                    return False
                try:
                    connection.execute(f"CREATE DATABASE {quote(name)} ENCODING 'UTF8' TEMPLATE template0")
                except driver_.Error as error:
                    if error.sqlstate not in _THERE:
                        raise StorageError(
                            f"{self.title}: there is no such database, and it cannot be created: {said(error)}",
                            hint=f"create it: createdb {name}",
                        ) from error
        except driver_.Error:
            return False
        return True
