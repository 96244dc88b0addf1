"""What SQLite asks of the file system, recorded through its VFS: every write, truncation, sync and deletion in order.

`ctypes` reaches the very library that Python's `sqlite3` uses and puts our functions before those of its VFS. From the
record follows every state that a power cut can leave: what was synced is there, of what was not any part may be.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

SECTOR: Final = 512
"""A disk writes a sector whole or not at all."""

Event = tuple[Any, ...]
"""("write", file, offset, bytes), ("truncate", file, size), ("sync", file), ("delete", file) or ("ack", number)."""

_FILE = ctypes.c_void_p


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
    )


class _Methods(ctypes.Structure):
    """Of `sqlite3_io_methods` those that are recorded, by their place; the others are copied as they are."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", ctypes.c_void_p),
        ("truncate", ctypes.c_void_p),
        ("sync", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 13),
    )


# The name is handed on as the pointer it is: SQLite reads it for as long as the file is open.
_OpenCall = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_void_p, _FILE, ctypes.c_int, ctypes.c_void_p)
_DeleteCall = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_char_p, ctypes.c_int)
_CloseCall = ctypes.CFUNCTYPE(ctypes.c_int, _FILE)
_WriteCall = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_TruncateCall = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_int64)
_SyncCall = ctypes.CFUNCTYPE(ctypes.c_int, _FILE, ctypes.c_int)


class Recorder:
    """Records for the rest of this process; meant for a forked one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.events: list[Event] = []
        self._files: dict[int, str] = {}
        self._patched: dict[int, _Methods] = {}
        self._kept: list[Any] = []
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._vfs = library.sqlite3_vfs_find(None).contents
        self._open = _OpenCall(self._vfs.open)
        self._delete = _DeleteCall(self._vfs.delete)
        self._vfs.open = self._address(_OpenCall(self._opened))
        self._vfs.delete = self._address(_DeleteCall(self._deleted))

    def acknowledge(self, number: int) -> None:
        """Note that a commit returned."""
        self.events.append(("ack", number))

    def _address(self, function: Any) -> int | None:
        self._kept.append(function)
        return ctypes.cast(function, ctypes.c_void_p).value

    def _opened(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        code: int = self._open(vfs, name, file, flags, out)
        if code == 0 and name:
            place = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
            methods = place.contents.value or 0
            if methods not in self._patched:
                self._patched[methods] = self._before(_Methods.from_address(methods))
            place[0] = ctypes.addressof(self._patched[methods])
            self._files[file] = Path(ctypes.string_at(name).decode()).name
        return code

    def _deleted(self, vfs: int, name: bytes, sync: int) -> int:
        code: int = self._delete(vfs, name, sync)
        if code == 0:
            self.events.append(("delete", Path(name.decode()).name))
        return code

    def _before(self, real: _Methods) -> _Methods:
        """Return methods that record and then do what the real ones do."""
        write, truncate, sync = _WriteCall(real.write), _TruncateCall(real.truncate), _SyncCall(real.sync)
        close = _CloseCall(real.close)
        self._kept += [write, truncate, sync, close]

        def written(file: int, data: int, length: int, offset: int) -> int:
            self.events.append(("write", self._files[file], offset, ctypes.string_at(data, length)))
            return int(write(file, data, length, offset))

        def truncated(file: int, size: int) -> int:
            self.events.append(("truncate", self._files[file], size))
            return int(truncate(file, size))

        def synced(file: int, flags: int) -> int:
            self.events.append(("sync", self._files[file]))
            return int(sync(file, flags))

        def closed(file: int) -> int:
            self._files.pop(file, None)
            return int(close(file))

        made = _Methods()
        ctypes.memmove(ctypes.addressof(made), ctypes.addressof(real), ctypes.sizeof(_Methods))
        made.write = self._address(_WriteCall(written))
        made.truncate = self._address(_TruncateCall(truncated))
        made.sync = self._address(_SyncCall(synced))
        made.close = self._address(_CloseCall(closed))
        return made


def library() -> ctypes.CDLL | None:
    """Return the SQLite library that Python's module uses; None where it cannot be reached from outside."""
    import _sqlite3

    for name in ("libsqlite3.so.0", "libsqlite3.dylib", _sqlite3.__file__):
        try:
            found = ctypes.CDLL(name)
            found.sqlite3_libversion.restype = ctypes.c_char_p
            import sqlite3

            if found.sqlite3_libversion().decode() == sqlite3.sqlite_version:
                return found
        except (OSError, AttributeError):
            continue
    return None


@attrs.define
class _File:
    """A file while its record is replayed: what is safe on the disk, and what was asked for since."""

    safe: bytearray = attrs.field(factory=bytearray)
    exists: bool = False
    waiting: list[Event] = attrs.field(factory=list)


def cuts(
    events: Sequence[Event], points: Sequence[int], chance: random.Random
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield, for each point, a state of the disk after a power cut there, and how many commits were acknowledged.

    Of what waits to be synced a random part is there, sector by sector; now and then all of it, or nothing.
    """
    files: dict[str, _File] = {}
    acknowledged, wanted = 0, set(points)
    for at, event in enumerate(events):
        if at in wanted:
            yield acknowledged, _after_a_cut(files, chance)
        kind, *_ = event
        if kind == "ack":
            acknowledged = event[1]
            continue
        file = files.setdefault(event[1], _File())
        if kind == "sync":
            for waiting in file.waiting:
                _apply(file.safe, waiting, None, 1.0)
            file.waiting, file.exists = [], True
        elif kind == "delete":
            files.pop(event[1])
        else:
            file.waiting.append(event)


def _after_a_cut(files: dict[str, _File], chance: random.Random) -> dict[str, bytes]:
    part = chance.choice((0.0, 0.5, 0.9, 1.0))
    found = {}
    for name, file in files.items():
        content = bytearray(file.safe)
        for event in file.waiting:
            _apply(content, event, chance, part)
        if file.exists or part:
            found[name] = bytes(content)
    return found


def _apply(content: bytearray, event: Event, chance: random.Random | None, part: float) -> None:
    def arrives() -> bool:
        return chance is None or chance.random() < part

    if event[0] == "truncate":
        if arrives():
            del content[event[2] :]
        return
    _, _, offset, data = event
    for start in range(0, len(data), SECTOR):
        if arrives():
            piece = data[start : start + SECTOR]
            end = offset + start + len(piece)
            if len(content) < end:
                content.extend(bytes(end - len(content)))
            content[offset + start : end] = piece
