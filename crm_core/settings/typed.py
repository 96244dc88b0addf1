"""Typed settings of what a plugin brings: a frozen attrs class says which keys a table has, and of which types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from crm_core.errors import SettingsError, UsageError
from crm_core.settings import checks
from crm_core.settings.secret import Secret
from crm_core.settings.table import Table

T = TypeVar("T")


def typed_settings(cls: type[T], table: Table, directory: Path | None) -> T:
    """Make an instance of an attrs class from a table of `crm.toml`.

    A field is `str`, `int`, `float`, `bool`, `tuple[str, ...]`, a `Literal` of texts or a `Secret`, or one of these or
    None; one without a default has to be there. No value is ever shown: whatever stands there may be secret.

    Raises:
        SettingsError: a key is missing, unknown or of another type.
        UsageError: the class has a field of another type.
    """
    hints, values = get_type_hints(cls), {}
    for field in attrs.fields(cls):  # type: ignore[arg-type]  # any attrs class
        check, expected, example = _checked(cls, field.name, hints[field.name], directory)
        missing = {} if field.default is attrs.NOTHING else {"default": _default(field.default)}
        values[field.name] = table.take(field.name, check, expected, f"{field.name} = {example}", **missing)
    table.end()
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise SettingsError(f"{table.file}: {table.where}: {error}") from None


def _default(found: Any) -> Any:
    return found.factory() if isinstance(found, attrs.Factory) else found  # type: ignore[arg-type]  # is a class


def _checked(cls: type, name: str, hint: Any, directory: Path | None) -> tuple[Callable[[Any], Any], str, str]:
    if get_origin(hint) in (Union, UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return checks.one_of(*choices), f"one of {', '.join(choices)}", f'"{choices[0]}"'
    if hint is Secret:
        return partial(Secret.at, directory=directory), "where the secret is, never the secret itself", _SECRET
    if hint == tuple[str, ...]:
        return checks.list_of_words, "a list of texts", '["a", "b"]'
    if hint in _PLAIN:
        return _PLAIN[hint]
    raise UsageError(f"{cls.__qualname__}.{name} is of a type that settings cannot have: {hint!r}")


def _whole(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        raise TypeError
    return found


def _number(found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        raise TypeError
    return float(found)


_SECRET: Final = '{env = "NAME"}, {file = "path"} or {keyring = "service/user"}'
_PLAIN: Final[Mapping[Any, tuple[Callable[[Any], Any], str, str]]] = {
    str: (checks.words, "text", '"text"'),
    int: (_whole, "a whole number", "1"),
    float: (_number, "a number", "1.5"),
    bool: (checks.flag, "true or false", "true"),
}
