"""Where a database is and how it is opened: what a URL and the `[storage]` table of `crm.toml` say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.errors import UsageError

_FORMS: Final = "write sqlite:///crm.db for a file of the workspace, sqlite:////srv/crm.db for an absolute path"
_IGNORED: Final = frozenset({"url", "directory"})


@attrs.frozen
class Place:
    """A database file, and how many seconds a writer waits for its turn."""

    path: Path
    timeout: float = 30.0

    @property
    def lock_path(self) -> Path:
        """The file on which writers queue."""
        return self.path.with_name(self.path.name + "-lock")


def place_of(url: str, options: Mapping[str, Any]) -> Place:
    """Read a URL and the options that belong to it: `directory` (of relative paths) and `timeout` (seconds).

    Raises:
        UsageError: the URL names no file, or an option is unknown or out of range.
    """
    prefix = "sqlite:///"
    name = url.removeprefix(prefix)
    if not url.startswith(prefix) or not name or "\0" in name:
        hint = 'for a CRM without a file write "memory:"' if name in ("sqlite://", ":memory:") else _FORMS
        raise UsageError(f"the storage URL {url!r} names no file", hint=hint)
    if "?" in name:
        raise UsageError(
            f"the storage URL {url!r} has parameters", hint="put options into [storage] of crm.toml: timeout"
        )
    unknown = sorted(options.keys() - {"timeout"} - _IGNORED)
    if unknown:
        raise UsageError(f"[storage] has the unknown option {unknown[0]!r}", hint="SQLite knows: url, timeout")
    timeout = options.get("timeout", Place.__attrs_attrs__.timeout.default)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout <= 3600:
        raise UsageError(
            f"[storage] timeout is {timeout!r}", hint="give seconds from 0 to 3600, for example timeout = 30"
        )
    directory = Path(options.get("directory") or Path.cwd())
    return Place((directory / name).absolute(), float(timeout))
