"""What the listener leaves for `crm run`: the calls that are over, one a line, and how it fares."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import attrs

from crm_channel_phone.calls import Call
from crm_core.errors import ChannelError

_FOLDER: Final = "phone"
_ENDING: Final = ".calls"
_BLANK: Final = b"- erased "
_LARGEST: Final = 5_000_000
_OLDEST: Final = timedelta(days=7)
"""How long a file of calls is written, and as long again it is kept: names and numbers stand in it."""


@attrs.frozen(kw_only=True)
class State:
    """How a listener fares: what it says, since when it said so last, and whether its credentials are wrong."""

    told: str
    at: datetime
    listening: bool = False
    refused: bool = False


class Journal:
    """The files of one account, under `phone/` in the workspace."""

    def __init__(self, directory: Path | None, account: str) -> None:
        if directory is None:
            raise ChannelError("calls are kept in the workspace, and there is none", hint="open the CRM by its folder")
        self._folder = directory / _FOLDER
        self.path = self._folder / f"{account}{_ENDING}"
        self._state = self._folder / f"{account}.state"

    @staticmethod
    def accounts(directory: Path | None) -> list[str]:
        """Return the accounts that have a journal in a workspace."""
        found = (directory / _FOLDER).glob(f"*{_ENDING}") if directory is not None else ()
        return sorted(each.name.removesuffix(_ENDING) for each in found)

    def make(self) -> None:
        """Make the files, so that they can be followed, and let go those that are too old."""
        self._folder.mkdir(exist_ok=True)
        self.rotate()
        self.path.touch()

    def add(self, call: Call) -> None:
        """Append a call; it is on the disk when this returns."""
        content = attrs.asdict(call) | {"at": call.at.isoformat() if call.at is not None else None}
        self.rotate()
        with self.path.open("ab") as file:
            if file.tell() and not self._ends_whole():  # killed within a line
                file.write(b"\n")
            file.write(json.dumps(content).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def note(self, state: State) -> None:
        """Say how the listener fares."""
        beside = self._state.with_suffix(".part")
        beside.write_text(json.dumps(attrs.asdict(state) | {"at": state.at.isoformat()}), "utf-8")
        beside.replace(self._state)

    def state(self) -> State | None:
        """Return how the listener fares; None if none ever ran."""
        try:
            found: dict[str, Any] = json.loads(self._state.read_text("utf-8"))
            return State(**{**found, "at": datetime.fromisoformat(found["at"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def rotate(self) -> None:
        """Begin another file when this one is large or old, and let go those that are too old."""
        now = datetime.now(UTC)
        with suppress(FileNotFoundError):  # another process was quicker
            for each in self._folder.glob(f"{self.path.name}.*"):
                if now - datetime.fromtimestamp(each.stat().st_mtime, UTC) > _OLDEST:
                    each.unlink(missing_ok=True)
            if self.path.exists() and (self.path.stat().st_size >= _LARGEST or now - self._begun(now) > _OLDEST):
                self.path.replace(self._folder / f"{self.path.name}.{now:%Y%m%dT%H%M%S%f}")

    def blank(self, wanted: Callable[[Collection[str]], Collection[str]]) -> int:
        """Overwrite the lines of calls, and those that are no call and so nobody's any more; returns how many.

        Each stays as long as it was: whoever reads or writes the file meanwhile finds all others where they were.

        Args:
            wanted: is given the ids of the calls in a file; returns those to be overwritten.
        """
        files = [self.path, *self._folder.glob(f"{self.path.name}.*")]
        return sum(_blanked(file, wanted) for file in files if file.exists())

    def _begun(self, now: datetime) -> datetime:
        """Return of when the first call in the file is."""
        with self.path.open("rb") as file:
            calls = (_call(line) for line in file)
            return next((call.at for call in calls if call is not None and call.at is not None), now)


def _blanked(path: Path, wanted: Callable[[Collection[str]], Collection[str]]) -> int:
    with path.open("r+b") as file:
        places, start = list[tuple[Call | None, int, int]](), 0
        content = file.read()
        for call, end in calls_in(content):
            if not content.startswith(_BLANK, start):
                places.append((call, start, end))
            start = end
        gone = wanted({call.id for call, _, _ in places if call is not None})
        found = [(start, end) for call, start, end in places if call is None or call.id in gone]
        for start, end in found:
            # Unlike any other one: the first line is what a file is known by.
            filler = _BLANK + token_hex(16).encode()
            file.seek(start)
            file.write(filler.ljust(end - start - 1, b"-")[: end - start - 1])
        file.flush()
        os.fsync(file.fileno())
    return len(found)


def calls_in(content: bytes) -> Iterator[tuple[Call | None, int]]:
    """Yield the calls of whole lines, each with the byte behind it; None for a line that is no call."""
    end = 0
    for line in content.split(b"\n")[:-1]:
        end += len(line) + 1
        yield _call(line), end


def _call(line: bytes) -> Call | None:
    try:
        found = json.loads(line)
        at = datetime.fromisoformat(found["at"]) if found["at"] else None
        whole = Call(**{**found, "at": at, "ours": tuple(map(str, found["ours"]))})
        texts = (whole.id, whole.direction, whole.number, whole.name, whole.note)
        lasted = whole.duration is None or isinstance(whole.duration, int)
        fits = all(isinstance(each, str) for each in texts) and whole.direction in ("in", "out") and lasted
        return whole if fits and whole.id.strip() and (at is None or at.utcoffset() is not None) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
