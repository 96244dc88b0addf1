"""The customers' table as three ORMs see it: what each takes to insert many rows, by its own way for that.

Each is loaded only here and only when asked for: `pip install crm-core[bench]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crm_core.records.schema import Table
from tests.benchmarks import AS_OURS

Insert = Callable[[Sequence[Mapping[str, Any]]], object]
"""Inserts rows, given by the names of their columns, in one transaction."""


def sqlalchemy_orm(path: Path, table: Table) -> Insert:
    """Add mapped objects to a session and commit it."""
    from sqlalchemy import BigInteger, Column, Text, create_engine, event
    from sqlalchemy.orm import Session, declarative_base

    columns = {
        column.name: Column(BigInteger if column.type == "int" else Text, primary_key=column.name == "id")
        for column in table.columns
    }
    mapped: Any = type("Mapped", (declarative_base(),), {"__tablename__": table.name, **columns})
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: object) -> None:
        for setting in AS_OURS:
            connection.execute(setting)

    def insert(rows: Sequence[Mapping[str, Any]]) -> None:
        with Session(engine) as session:
            session.add_all(mapped(**row) for row in rows)
            session.commit()

    return insert


def django_orm(path: Path, table: Table) -> Insert:
    """Hand objects of a model to `bulk_create`, in `atomic`."""
    import django
    from django.conf import settings
    from django.db import models, transaction

    options = {"init_command": ";".join(AS_OURS), "transaction_mode": "IMMEDIATE"}
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}},
        USE_TZ=True,
    )
    django.setup()
    fields = {
        column.name: models.BigIntegerField(primary_key=column.name == "id", null=column.name != "id")
        if column.type == "int"
        else models.TextField(null=True)
        for column in table.columns
    }
    meta = type("Meta", (), {"app_label": "bench", "db_table": table.name, "managed": False})
    model: Any = type("Mapped", (models.Model,), {**fields, "__module__": __name__, "Meta": meta})

    def insert(rows: Sequence[Mapping[str, Any]]) -> None:
        with transaction.atomic():
            model.objects.bulk_create([model(**row) for row in rows])

    return insert


def peewee(path: Path, table: Table) -> Insert:
    """Hand dictionaries to `insert_many`, in `atomic`."""
    import peewee

    database = peewee.SqliteDatabase(str(path))
    for setting in AS_OURS:
        database.execute_sql(setting)
    fields = {
        column.name: peewee.BigIntegerField(primary_key=column.name == "id", null=column.name != "id")
        if column.type == "int"
        else peewee.TextField(null=True)
        for column in table.columns
    }
    meta = type("Meta", (), {"database": database, "table_name": table.name})
    model: Any = type("Mapped", (peewee.Model,), {**fields, "Meta": meta})

    def insert(rows: Sequence[Mapping[str, Any]]) -> None:
        with database.atomic():
            model.insert_many(rows).execute()

    return insert


ORMS: Final[Mapping[str, Callable[[Path, Table], Insert]]] = {
    "SQLAlchemy ORM": sqlalchemy_orm,
    "Django bulk_create": django_orm,
    "peewee insert_many": peewee,
}
"""By what is shown; each raises `ImportError` where it is not installed."""
