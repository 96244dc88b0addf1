"""Writes the TOML of a mapping, a remark behind each guess."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence

import attrs

from crm_transfer.toml import quoted


@attrs.define
class Block:
    """One `[[record]]`: its head lines and its fields, each (path, what it is read from, remark)."""

    type: str
    head: list[str]
    fields: list[tuple[str, str, str]] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)

    def lines(self) -> list[str]:
        """Return the block as lines."""
        fields = [f"{path} = {source}" + (f"  # {remark}" if remark else "") for path, source, remark in self.fields]
        return ["[[record]]", f"type = {quoted(self.type)}", *self.head, "[record.fields]", *fields, *self.left, ""]


def listed(parts: Sequence[str]) -> str:
    """Return columns as a key: one name, or a list of names."""
    return quoted(parts[0]) if len(parts) == 1 else "[" + ", ".join(map(quoted, parts)) + "]"


def texts(parts: Iterable[str]) -> str:
    """Return a list of texts."""
    return "[" + ", ".join(map(quoted, parts)) + "]"


def inline(content: Mapping[str, str]) -> str:
    """Return an inline table of texts."""
    return "{ " + ", ".join(f"{quoted(key)} = {quoted(value)}" for key, value in content.items()) + " }"


def source(column: str, **more: str) -> str:
    """Return where a field is read from: the column alone, or a table with more keys.

    The values of the keys are TOML already; an expression under `value` names the column itself.
    """
    given = {key: value for key, value in more.items() if value}
    if not given:
        return quoted(column)
    first = {} if "value" in given else {"column": quoted(column)}
    return "{ " + ", ".join(f"{key} = {value}" for key, value in (first | given).items()) + " }"


def column_of(source: str) -> str:
    """Return the column that a field is read from alone, empty where it is an expression."""
    told = tomllib.loads(f"read = {source}")["read"]
    return str(told if isinstance(told, str) else told.get("column", ""))
