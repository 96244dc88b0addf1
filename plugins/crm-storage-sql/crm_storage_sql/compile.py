"""Analytic selects as text and parameters; apart, so that only who computes numbers loads SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import Select
from sqlalchemy.engine import Dialect


def statement_of(select: Select[Any], database: str) -> tuple[str, dict[str, Any]]:
    """Return the SQL of a select for a database (sqlite, postgresql, mariadb), and its parameters by name."""
    compiled = select.compile(dialect=_dialect(database), compile_kwargs={"render_postcompile": True})
    return str(compiled), compiled.params


@cache
def _dialect(database: str) -> Dialect:
    if database == "postgresql":
        from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

        make: Callable[..., Dialect] = PGDialect_psycopg
        return make(paramstyle="pyformat")
    if database == "mariadb":
        from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

        return MySQLDialect_pymysql(paramstyle="pyformat")
    from sqlalchemy.dialects import sqlite

    return sqlite.dialect(paramstyle="named")
