"""Analytic selects as text and parameters; apart, so that only who computes numbers loads SQLAlchemy."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

_DIALECT: Final = sqlite.dialect(paramstyle="named")


def statement_of(select: Select[Any]) -> tuple[str, dict[str, Any]]:
    """Return the SQL of a select for SQLite, and its parameters by name."""
    compiled = select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return str(compiled), compiled.params
