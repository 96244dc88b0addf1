"""The file that knows of erasures when the database is lost: `erasures.jsonl` beside `crm.toml`, ids and times only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crm_core.errors import CrmError, StorageError
from crm_core.ledger.erasures import Erased
from crm_core.values import format_id, parse_id

FILE: Final = "erasures.jsonl"
_WITHDRAWN: Final = "withdrawn"


class ErasureLog:
    """The file in a workspace's folder; without a folder (a CRM that was opened by a URL) nothing is kept or known.

    A line each: one erasure, or that one was withdrawn because its transaction failed. Lines are only ever added.
    """

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / FILE

    def read(self) -> list[Erased]:
        """Return the erasures that the file knows of, each once.

        Raises:
            StorageError: the file is there and cannot be understood.
        """
        if self.file is None or not self.file.exists():
            return []
        found: dict[int, Erased] = {}
        number = 1
        try:
            for number, line in enumerate(self.file.read_text("utf-8").splitlines(), 1):  # noqa: B007
                # Whoever was killed while adding a line left the beginning of one: what it tells of never happened.
                if line.strip() and line.rstrip().endswith("}"):
                    _take(json.loads(line), found)
        except OSError as error:
            raise StorageError(f"{self.file} cannot be read: {error.strerror}", hint="let it be read again") from error
        except (ValueError, KeyError, TypeError, AttributeError, CrmError) as error:
            raise StorageError(
                f"{self.file}, line {number}, does not say who was erased: the file was damaged or edited",
                hint="bring it back from a copy; a database that is not lost knows of its erasures by itself",
            ) from error
        return list(found.values())

    def note(self, erasure: Erased) -> str:
        """Note a new erasure, durably; return in words why that failed, empty when it did not.

        A folder that cannot be written to does not keep a person from being erased.
        """
        return self._append([erasure.to_json()])

    def add(self, erasures: Iterable[Erased]) -> None:
        """Note those of these erasures that are not in the file yet, where it can be read and written."""
        with suppress(StorageError):
            known = {one.operation for one in self.read()}
            self._append([one.to_json() for one in erasures if one.operation not in known])

    def withdraw(self, operation: int) -> None:
        """Note that an erasure did not happen, after it was added."""
        self._append([{"operation": format_id(operation), _WITHDRAWN: True}])

    def _append(self, lines: list[dict[str, Any]]) -> str:
        if self.file is None or not lines:
            return ""
        text = "".join(json.dumps(one) + "\n" for one in lines).encode()
        try:
            new = not self.file.exists()
            with self.file.open("ab+") as stream:
                if stream.tell() and not _ends_a_line(stream):
                    text = b"\n" + text
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if new and os.name == "posix":  # elsewhere a folder cannot be opened
                folder = os.open(self.file.absolute().parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            return f"{self.file} cannot be written: {error.strerror}"
        return ""


def _take(said: Mapping[str, Any], found: dict[int, Erased]) -> None:
    if said.get(_WITHDRAWN):
        found.pop(parse_id(said["operation"]), None)
        return
    one = Erased.from_json(said)
    found[one.operation] = one


def _ends_a_line(stream: Any) -> bool:
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) == b"\n")


__all__ = ["FILE", "ErasureLog"]
