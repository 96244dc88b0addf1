"""Reading a file that others write: as it grows, and when it is rotated, cut or copied away.

A file is known by its first lines, not by its name, so that it stays the same under another one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import IO, Final

import attrs

from crm_core.errors import TryLater

Places = Mapping[str, int]
"""How far each file was read, by its head; `LEFT` for one that is not read any more."""

LEFT: Final = -1
_PIECE: Final = 256 * 1024
_HEAD: Final = 8 * 1024
_ATTEMPTS: Final = 3
_BROKEN: Final = (EOFError, zlib.error, gzip.BadGzipFile)


@attrs.frozen(kw_only=True)
class Piece:
    """Whole lines of one file, those that are next.

    Args:
        places: how far each file was read.
        head: which file it is of.
        start: at which byte of it the lines begin.
        content: the lines.
        title: the first line of the file.
        last: whether the file has no more whole lines behind them.
        live: whether it is the file that is still written.
    """

    places: Places
    head: str
    start: int
    content: bytes = attrs.field(repr=False)
    title: bytes = attrs.field(repr=False)
    last: bool
    live: bool

    def after(self, used: int) -> Places:
        """Return the places when so many bytes of the content were used."""
        return {**self.places, self.head: self.start + used}


def places_of(cursor: str, path: Path, *, lines: int = 1) -> Places:
    """Read a cursor: where to go on in a file and its rotated ones, of which at first those compressed are left out.

    Of a cursor that is none all is read again, for too much is better than too little.

    Raises:
        TryLater: there is no such file, or it cannot be read.
    """
    if not cursor:
        try:
            return {head: LEFT for head, file in _files(path, lines).items() if _is_packed(file)}
        except OSError as error:
            raise _away(path, error) from None
    try:
        found = json.loads(cursor)
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(at, int) and at >= LEFT for at in found.values())
    return found if whole else {}


def cursor_of(places: Places) -> str:
    """Write a cursor."""
    return json.dumps(dict(places), separators=(",", ":"))


def next_piece(path: Path, places: Places, *, lines: int = 1) -> Piece | None:
    """Return what is to be read next: of rotated files first, the oldest first; None where all was read.

    Args:
        path: the file; its rotated ones stand beside it under its name with something behind it.
        places: how far each was read.
        lines: by how many of its first lines a file is known.

    Raises:
        TryLater: there is no such file, or it cannot be read.
    """
    for _ in range(_ATTEMPTS):
        try:
            found = _files(path, lines)
            known = {head: places.get(head, 0) for head in found}
            waiting = [head for head, file in found.items() if _may_have_more(file, known[head])]
            for head in waiting:
                piece = _read(found[head], head, known, live=found[head] == path, lines=lines)
                if piece is None:  # rotated since it was listed
                    break
                if piece.content:
                    return piece
                if _is_packed(found[head]):
                    known[head] = LEFT
            else:
                return None
        except OSError as error:
            raise _away(path, error) from None
    return None


def require(path: Path) -> None:
    """Make sure that a file is there and can be read.

    Raises:
        TryLater: it is not.
    """
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise _away(path, error) from None


def _away(path: Path, error: OSError) -> TryLater:
    return TryLater(
        f"{path} cannot be read: {error.strerror or error}",
        delay=60,
        hint="correct the path in crm.toml, or let the user of crm run read it",
    )


def _files(path: Path, lines: int) -> dict[str, Path]:
    """Return the files by their heads, the oldest first, the one that is written last; one without a head waits."""
    beside = [each for mark in ".-" for each in path.parent.glob(f"{escape(path.name)}{mark}*") if each.is_file()]
    found: dict[str, Path] = {}
    for each in [*sorted(beside, key=_age), path]:
        try:
            with _opened(each) as file:
                head = _head(file, lines)
        except FileNotFoundError:
            if each == path and not beside:
                raise
            continue
        except _BROKEN:
            continue
        if head:
            found.pop(head, None)  # a copy that is about to be cut: the original is the one that is written
            found[head] = each
    return found


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


def _is_packed(path: Path) -> bool:
    return path.suffix == ".gz"


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")  # type: ignore[return-value]


def _head(file: IO[bytes], lines: int) -> str:
    """Return what a file is known by; empty while its first lines are not whole."""
    start = file.read(_HEAD)
    whole = start.split(b"\n", lines)  # not by carriage returns, which may stand in a value
    if len(whole) <= lines and len(start) < _HEAD:
        return ""
    return hashlib.sha256(b"\n".join(whole[:lines])).hexdigest()[:16]


def _may_have_more(path: Path, at: int) -> bool:
    if at == LEFT:
        return False
    return _is_packed(path) or path.stat().st_size != at


def _read(path: Path, head: str, known: Places, *, live: bool, lines: int) -> Piece | None:
    try:
        with _opened(path) as file:
            if _head(file, lines) != head:
                return None
            start = known[head]
            if not _is_packed(path) and path.stat().st_size < start:  # it was cut: what is there is read again
                start = 0
            file.seek(0)
            title = file.readline(_HEAD)
            file.seek(start)
            content = file.read(_PIECE)
            more = len(content) == _PIECE
    except FileNotFoundError:
        return None
    except _BROKEN:
        return Piece(places=known, head=head, start=known[head], content=b"", title=b"", last=True, live=live)
    end = content.rfind(b"\n") + 1
    if not end and more:  # no line is so long: it is let go
        end = len(content)
    return Piece(places=known, head=head, start=start, content=content[:end], title=title, last=not more, live=live)
