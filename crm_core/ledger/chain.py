"""The hash chain over the ledger: each transaction seals itself and, through its predecessor, all that came before.

A link covers the position, the transaction, who did what in which operation, and a salted digest of every image. Since
only digests are covered, an image can be emptied (an erasure, a compaction) and the chain still holds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from crm_core.errors import SettingsError
from crm_core.extend import Storage
from crm_core.ledger.tables import TRANSACTIONS
from crm_core.records.schema import Primitive, Row
from crm_core.settings import Settings

PLAIN: Final = "plain"
KEYED: Final = "keyed"
EMPTIED: Final = "null"
"""The content of an image that an erasure or a compaction has emptied; its digest stays."""
_SHORTEST: Final = 16
"""Bytes of a key at least; fewer can be guessed."""
_SALT: Final = 16
_COLUMNS: Final = tuple(name for name in TRANSACTIONS.column_names if name not in ("position", "chain"))


class Chain:
    """Makes links: with the workspace's key by HMAC-SHA256, without one by plain SHA-256.

    A plain chain shows what was changed by accident or by somebody who did not compute it anew; only a keyed one, or an
    anchor kept elsewhere, shows what was changed by somebody who did.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key: bytes | None = None

    @property
    def kind(self) -> str:
        """What the links it makes are: `keyed` or `plain`."""
        return PLAIN if self._settings.ledger_key is None else KEYED

    def require_key(self) -> None:
        """Find the key that the settings name: nothing may be written without it.

        Raises:
            SettingsError: it is not where the settings say, or too short.
        """
        if self._settings.ledger_key is not None and self._key is None:
            self._key = _read_key(self._settings)

    def link(self, previous: str | None, header: Sequence[Primitive], digests: Sequence[str], kind: str = "") -> str:
        """Return the link of a transaction: `keyed:` or `plain:` and 64 hexadecimal digits.

        Args:
            previous: the link of the position before; None where the chain begins.
            header: what is sealed of the transaction and its operation, see `header_of`.
            digests: those of its images, by the images' ids.
            kind: which kind of link to compute, for a check; its own without it.
        """
        sealed = json.dumps([previous, *header, *digests], ensure_ascii=False, separators=(",", ":")).encode()
        if (kind or self.kind) == PLAIN:
            return f"{PLAIN}:{hashlib.sha256(sealed).hexdigest()}"
        self.require_key()
        return f"{KEYED}:{hmac.digest(self._key or b'', sealed, 'sha256').hex()}"

    def seal(self, storage: Storage, transaction: Row, operation: Row, digests: Sequence[str]) -> int:
        """Take the position of a transaction and link it, while the head of the ledger is locked; returns the position.

        `transaction` is its row without position and chain, `operation` that of its operation.
        """

        def link(position: int, previous: str | None) -> str:
            return self.link(previous, header_of(position, transaction, operation), digests)

        return storage.append_linked(_COLUMNS, transaction, link)


def header_of(position: int, transaction: Row, operation: Row) -> tuple[Primitive, ...]:
    """Return what a link covers: position; id, operation, time and notes; what the operation is, whose, why, and when.

    Its end and its process are covered where it ends with this transaction, as a lone write does. One of several goes
    on after it, maybe in another process; and the state and detail of any change after the fact.
    """
    _, kind, label, _, user_id, started_at, ended_at, undoes, cause, process, _ = operation
    over = (None, None) if ended_at is None else (ended_at, process)
    return (position, *transaction[:4], kind, label, user_id, undoes, cause, started_at, *over)


def headers_of(position: int, transaction: Row, operation: Row) -> Iterator[tuple[Primitive, ...]]:
    """Yield what the link of a stored transaction may have covered.

    That it was the operation's last, or that others followed; or, of links of before that was covered, no times. Who
    cannot make links cannot make one of another form either.
    """
    now = header_of(position, transaction, operation)
    yield now
    yield (*now[:-2], None, None)
    yield now[:-3]


def new_salts(count: int) -> list[str]:
    """Return so many random salts, as text."""
    drawn = os.urandom(_SALT * count).hex()
    return [drawn[at : at + 2 * _SALT] for at in range(0, len(drawn), 2 * _SALT)]


def image_digest(salt: Primitive, image: Sequence[Primitive]) -> str:
    """Return the digest of an image's first six cells; the salt keeps what was erased from being guessed from it."""
    sealed = json.dumps([salt, *image[:6]], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(sealed.encode()).hexdigest()


def _read_key(settings: Settings) -> bytes:
    source = settings.ledger_key
    assert source is not None, "there is a key to be read"
    if source.env:
        told = f"the environment variable {source.env}"
        key = os.environ.get(source.env, "").strip().encode()
    else:
        place = (settings.directory or Path()) / Path(source.file).expanduser()
        told = f"the file {place}"
        try:
            key = place.read_bytes().strip()
        except OSError as error:
            raise _no_key(f"{told} cannot be read: {error.strerror}") from error
    if len(key) < _SHORTEST:
        raise _no_key(f"{told} holds {f'{len(key)} bytes' if key else 'nothing'}, expected {_SHORTEST} bytes or more")
    return key


def _no_key(what: str) -> SettingsError:
    return SettingsError(
        f"the ledger's key is not there: {what}",
        hint="nothing is written without the key that [ledger] in crm.toml names; put it there, or name another place",
    )
