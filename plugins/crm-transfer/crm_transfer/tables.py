"""TOML as mappings and plans are written in it: every mistake is a `MappingError` that names the file and the key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crm_transfer.errors import MappingError


def read_text(path: Path) -> str:
    """Return the text of a TOML file, or say why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MappingError(f"{path}: cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"{path}: is not UTF-8 text", hint="save it as UTF-8") from error


def parse_toml(text: str, name: str) -> Mapping[str, Any]:
    """Parse TOML text; an error names the file and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(
            f"{name}: is not TOML: {error}", hint="quote text, and write = between key and value"
        ) from error


class Table:
    """A TOML table and where it stands, so that every mistake in it can be named."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        """Take the table at `place` (file name and key)."""
        self.data = data
        self.place = place

    def wrong(self, key: str, what: str, hint: str = "") -> MappingError:
        """Return the error that says what is wrong with a key."""
        return MappingError(f"{self.place}: {key} {what}" if key else f"{self.place} {what}", hint=hint)

    def only(self, allowed: frozenset[str] | set[str]) -> None:
        """Refuse keys that mean nothing here."""
        for key in self.data:
            if key not in allowed:
                close = difflib.get_close_matches(key, allowed, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(allowed))}"
                raise self.wrong(repr(key), "is not known", hint)

    def text(self, key: str, default: str = "") -> str:
        """Return the text of a key."""
        found = self.data.get(key, default)
        if not isinstance(found, str):
            raise self.wrong(key, f"must be text, found {found!r}", f'{key} = "..."')
        return found

    def flag(self, key: str) -> bool:
        """Return a yes or no; no when the key is absent."""
        found = self.data.get(key, False)
        if not isinstance(found, bool):
            raise self.wrong(key, f"must be true or false, found {found!r}")
        return found

    def count(self, key: str, default: int = 0) -> int:
        """Return a whole number."""
        found = self.data.get(key, default)
        if not isinstance(found, int) or isinstance(found, bool):
            raise self.wrong(key, f"must be a whole number, found {found!r}", f"{key} = 1")
        return found

    def choice(self, key: str, allowed: Sequence[str], default: str = "") -> str:
        """Return one of some words; `default`, else the first of them, when the key is absent."""
        found = self.text(key, default or allowed[0])
        if found not in allowed:
            raise self.wrong(key, f"must be {' or '.join(allowed)}, found {found!r}")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; one text alone stands for a list of one."""
        found = self.data.get(key, [])
        listed = [found] if isinstance(found, str) else found
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise self.wrong(key, f"must be text or a list of texts, found {found!r}")
        return tuple(listed)

    def table(self, key: str) -> Table:
        """Return the table under a key; an empty one when there is none."""
        found = self.data.get(key, {})
        if not isinstance(found, dict):
            raise self.wrong(key, f"must be a table, found {found!r}")
        return Table(found, f"{self.place}: [{key}]")

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array `[[key]]`."""
        found = self.data.get(key, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise self.wrong(key, "must be written as tables", f"[[{key}]]")
        return [Table(each, f"{self.place}: [[{key}]] {at}") for at, each in enumerate(found, 1)]

    def nested(self, key: str, *, depth: int) -> Mapping[str, Any]:
        """Return the tables under a key, by one name or (depth 2) by two."""
        found = self.table(key).data
        inner = [*found.values()]
        if depth > 1:
            inner = [each for group in found.values() if isinstance(group, dict) for each in group.values()]
        if not all(isinstance(each, dict) for each in [*found.values(), *inner]):
            raise self.wrong(key, "must be tables", '[fields.customer.sector] with type = "text"')
        return found

    def mapping(self, key: str) -> dict[str, str]:
        """Return a table from text to text."""
        found = self.data.get(key, {})
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise self.wrong(key, f"must map texts to texts, found {found!r}", f'{key} = {{ "old" = "new" }}')
        return dict(found)

    def mapping_of_all(self) -> dict[str, str]:
        """Return this whole table, from text to text."""
        return Table({"": dict(self.data)}, self.place).mapping("")

    def named(self, key: str) -> list[tuple[str, Table]]:
        """Return the tables of a table of tables, `[key.name]`, with their names."""
        inner = self.table(key)
        return [(name, Table(inner.table(name).data, f"{self.place}: [{key}.{name}]")) for name in inner.data]
