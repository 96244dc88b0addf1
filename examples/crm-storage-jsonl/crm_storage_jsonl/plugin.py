"""What crm-storage-jsonl hands over: the scheme `jsonl:`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from crm_core import hookimpl
from crm_core.errors import UsageError
from crm_core.extend import Storage, StorageScheme

_PREFIX: Final = "jsonl:///"


class StorageJsonl:
    """One storage."""

    @hookimpl
    def register_storages(self) -> Iterable[StorageScheme]:
        """Hand over JSON lines."""
        return [
            StorageScheme(
                name="jsonl",
                schemes=("jsonl",),
                open=open_jsonl,
                embedded=True,
                help="a folder beside crm.toml: jsonl:///data, or jsonl:////srv/data for an absolute path",
            )
        ]


def open_jsonl(url: str, options: Mapping[str, Any]) -> Storage:
    """Open the folder of a URL, creating an empty one when there is none.

    Args:
        url: `jsonl:///relative` (to `options["directory"]`, else the current folder) or `jsonl:////absolute`.
        options: the `[storage]` table of `crm.toml`: `timeout`, the seconds a writer waits for its turn (30).

    Raises:
        UsageError: the URL names no folder, or an option is not understood.
        StorageError: the folder cannot be used, or its files are damaged.
    """
    from crm_storage_jsonl.storage import JsonlStorage

    name = url.removeprefix(_PREFIX)
    if not url.startswith(_PREFIX) or not name or "\0" in name or "?" in name:
        raise UsageError(
            f"the storage URL {url!r} names no folder", hint="write jsonl:///data for one of the workspace"
        )
    unknown = sorted(options.keys() - {"url", "directory", "timeout"})
    if unknown:
        raise UsageError(f"[storage] has the unknown option {unknown[0]!r}", hint="jsonl knows: url, timeout")
    timeout = options.get("timeout", 30.0)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout <= 3600:
        raise UsageError(f"[storage] timeout is {timeout!r}", hint="give seconds from 0 to 3600")
    directory = Path(options.get("directory") or Path.cwd())
    return JsonlStorage((directory / name).absolute(), timeout=float(timeout))


plugin = StorageJsonl()
