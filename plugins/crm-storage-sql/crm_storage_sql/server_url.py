"""Where a database server is and who asks it: what a URL and the `[storage]` table of `crm.toml` say.

The password is kept apart from everything that is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from crm_core.errors import UsageError

PASSWORD_VARIABLE: Final = "CRM_STORAGE_PASSWORD"  # the name of a variable, no secret
_OPTIONS: Final = ("connect_timeout", "password", "timeout", "url")
_IGNORED: Final = frozenset({"url", "directory", "password"})


@attrs.frozen(kw_only=True)
class Server:
    """A database on a server; `timeout` is how many seconds a writer waits for a lock, `connect_timeout` for an answer.

    `parameters` are those of the URL: how the connection is made. An empty host or user is the driver's default.
    """

    scheme: str
    host: str
    port: int | None
    user: str
    password: str = attrs.field(repr=False)
    database: str
    parameters: Mapping[str, str] = MappingProxyType({})
    timeout: float = 30.0
    connect_timeout: float = 10.0

    @property
    def title(self) -> str:
        """The place in words, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = f"{self.user}@{host}" if self.user else host
        schema = self.parameters.get("schema", "")
        return f"{self.scheme}://{where}{f':{self.port}' if self.port else ''}/{self.database}" + (
            f"?schema={schema}" if schema else ""
        )


def server_of(url: str, options: Mapping[str, Any], *, scheme: str, known: frozenset[str]) -> Server:
    """Read a URL such as `postgresql://crm@db.example.org/crm`, and the options that belong to it.

    The options are `timeout`, `connect_timeout` and `password`; the password may stand in the URL, in
    `[storage]`, or in the environment variable CRM_STORAGE_PASSWORD.

    Args:
        url: what was written.
        options: the `[storage]` table of `crm.toml`.
        scheme: what the title calls the database.
        known: the parameters that this database has.

    Raises:
        UsageError: the URL names no database, or an option is unknown or out of range; it shows no password.
    """
    form = f"write {scheme}://USER@HOST/DATABASE"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("the storage URL is not understood", hint=form) from None
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database or "\0" in unquote(url):
        raise UsageError("the storage URL names no database", hint=form)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_names(parameters, known, "the storage URL has the unknown parameter", "it may have")
    _check_names(options, frozenset(_OPTIONS) | _IGNORED, "[storage] has the unknown option", "a server knows")
    return Server(
        scheme=scheme,
        host=unquote(parts.hostname or ""),
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or "") or _password(options),
        database=database,
        parameters=MappingProxyType(parameters),
        timeout=_seconds(options, "timeout", 30.0),
        connect_timeout=_seconds(options, "connect_timeout", 10.0),
    )


def _check_names(found: Mapping[str, Any], known: frozenset[str], what: str, told: str) -> None:
    unknown = sorted(found.keys() - known)
    if unknown:
        shown = ", ".join(sorted(known - {"directory"})) or "none"
        raise UsageError(f"{what} {unknown[0]!r}", hint=f"{told}: {shown}")


def _password(options: Mapping[str, Any]) -> str:
    found = options.get("password", os.environ.get(PASSWORD_VARIABLE, ""))
    if not isinstance(found, str):
        raise UsageError("[storage] password is no text", hint='put it in quotes: password = "..."')
    return found


def _seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    found = options.get(name, default)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= 3600:
        raise UsageError(
            f"[storage] {name} is {found!r}", hint=f"give seconds from 0 to 3600, for example {name} = {default:g}"
        )
    return float(found)
