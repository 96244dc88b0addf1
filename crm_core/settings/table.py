"""One table of `crm.toml` while it is read: every key is taken once, and what nobody took is a mistake with a name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from crm_core.errors import SettingsError

T = TypeVar("T")
_ABSENT: Final[Any] = object()


class Table:
    """One table of the file while it is read: each key is taken once, what is left at the end is unknown."""

    def __init__(self, file: Path, name: str, content: object, *, secret: bool = False, hint: str = "") -> None:
        if not isinstance(content, dict):
            found = type(content).__name__  # its value may be a secret
            raise SettingsError(f"{file}: {name} is {found}, expected a table", hint=hint or f"write it as [{name}]")
        self.file, self.name, self.content, self.secret = file, name, dict(content), secret
        self._known: list[str] = []

    def take(self, key: str, check: Callable[[Any], T], expected: str, example: str, default: Any = _ABSENT) -> T:
        """Take one key; without a `default` it has to be there.

        Raises:
            SettingsError: `check` does not take it: what it is, what was expected, an example.
        """
        self._known.append(key)
        found = self.content.pop(key, _ABSENT)
        if found is _ABSENT:
            if default is _ABSENT:
                raise self.wrong(key, "is missing", expected, example)
            return default  # type: ignore[no-any-return]  # a default is of the type that `check` returns
        try:
            return check(found)
        except (ValueError, TypeError, InvalidOperation):
            written = f"{found:f}" if isinstance(found, Decimal) else repr(found)
            shown = f"is {type(found).__name__}, not understood" if self.secret else f"is {written}"
            raise self.wrong(key, shown, expected, example) from None

    def tables(self, key: str) -> dict[str, Table]:
        """Take the tables under a key, by name."""
        self._known.append(key)
        under = Table(self.file, self.path(key), self.content.pop(key, {}))
        return {name: Table(self.file, under.path(name), content) for name, content in under.content.items()}

    def table(self, key: str, *, secret: bool = False) -> Table:
        """Take the table under a key; the values of a `secret` one are never shown."""
        self._known.append(key)
        return Table(self.file, self.path(key), self.content.pop(key, {}), secret=secret)

    def end(self) -> None:
        """Complain of the first key that nobody took."""
        for key in self.content:
            close = get_close_matches(key, self._known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(self._known))}"
            raise SettingsError(f"{self.file}: {self.where} has no key {key!r}", hint=hint)

    def wrong(self, key: str, found: str, expected: str, example: str) -> SettingsError:
        """Return the error that says what is wrong with a key."""
        return SettingsError(
            f"{self.file}: {self.where} {key} {found}; expected {expected}", hint=f"for example: {example}"
        )

    def path(self, key: str) -> str:
        """Return the name of a table below this one."""
        return f"{self.name}.{key}" if self.name else key

    @property
    def where(self) -> str:
        """The table as it is written."""
        return f"[{self.name}]" if self.name else "the top level"
