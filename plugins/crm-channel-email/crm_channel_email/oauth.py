"""Access tokens of OAuth2: fetched by a refresh token (RFC 6749 section 6), kept until they expire.

In memory, for all accounts of the process; and where `token_file` names one, in a file that only its owner may read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, Final

import attrs

from crm_channel_email.settings import EmailSettings
from crm_core.errors import CredentialsWrong, SettingsError, TryLater
from crm_core.settings import whole_file

_MARGIN: Final = 60.0
"""Seconds before its end at which a token is not used any more."""
_UNSAID: Final = 600
"""Seconds that a token counts as good of which the server does not say it: `expires_in` is only recommended."""
_LARGEST: Final = 65_536
_HINTS: Final = {
    "invalid_grant": "the refresh token has expired or was withdrawn: have a new one made, and put it at {secret}",
    "invalid_client": "see client_id and client_secret of the account",
    "unauthorized_client": "the client is not allowed to renew tokens: see client_id, and how it is registered",
    "invalid_scope": "see scope of the account: the refresh token was made for another one",
}
_AWAY: Final = frozenset({"temporarily_unavailable", "server_error"})

_kept: dict[str, _Kept] = {}
_lock = Lock()


@attrs.frozen(kw_only=True)
class _Kept:
    """A token, when it ends (in seconds since 1970), and the refresh token that came with it, if one did."""

    access: str = attrs.field(repr=False)
    until: float
    refresh: str = attrs.field(default="", repr=False)


class Bearer:
    """The token that an account logs in with: the one that its settings name, or one that is renewed."""

    def __init__(self, settings: EmailSettings, directory: Path | None) -> None:
        self._settings = settings
        self._directory = directory

    def log_in(self, attempt: Callable[[str], Exception | None]) -> None:
        """Log in: `attempt` tries a token and returns the refusal, if it is refused.

        A renewed one may have been withdrawn before its end: then it is renewed and tried once more.

        Raises:
            Exception: the refusal.
            CredentialsWrong: the token server does not renew the token.
            TryLater: the token server is away.
        """
        if self._settings.token is not None:
            refusal = attempt(self._settings.token.reveal())
        else:
            token = self._token()
            refusal = attempt(token)
            if refusal is not None:
                refusal = attempt(self._token(refused=token))
        if refusal is not None:
            raise refusal

    def _token(self, refused: str = "") -> str:
        """Return a token that has not expired, and was not refused."""
        with _lock:
            kept = self._found()
            return kept.access if kept is not None and kept.access != refused else self._fetched().access

    @property
    def _key(self) -> str:
        """What the token is of: another refresh token, client or server is another one."""
        settings = self._settings
        assert settings.refresh_token is not None, "only with one a token is renewed"
        parts = [settings.token_address, settings.client_id, settings.scopes, settings.refresh_token.reveal()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _found(self) -> _Kept | None:
        kept = _kept.get(self._key) or self._read()
        if kept is None or kept.until - _MARGIN <= time():
            return None
        _kept[self._key] = kept
        return kept

    def _fetched(self) -> _Kept:
        settings, key = self._settings, self._key
        before = _kept.get(key) or self._read()
        assert settings.refresh_token is not None, "only with one a token is renewed"
        given = {
            "grant_type": "refresh_token",
            "refresh_token": before.refresh
            if before is not None and before.refresh
            else settings.refresh_token.reveal(),
            "client_id": settings.client_id,
        }
        if settings.client_secret is not None:
            given["client_secret"] = settings.client_secret.reveal()
        if settings.scopes:
            given["scope"] = settings.scopes
        content = self._asked(given)
        access, kind, lasts = content.get("access_token"), content.get("token_type"), content.get("expires_in")
        if not isinstance(access, str) or not access or str(kind).casefold() != "bearer":
            raise TryLater(f"{self._place} answered without a token", hint="see token_url of the account")
        try:
            seconds = float(lasts) if lasts is not None else _UNSAID
        except (TypeError, ValueError):
            seconds = _UNSAID
        # Whoever rotates refresh tokens wants the newest one the next time.
        refresh = content.get("refresh_token") or (before.refresh if before is not None else "")
        kept = _Kept(access=access, until=time() + max(seconds, _MARGIN + 1), refresh=str(refresh))
        _kept[key] = kept
        self._write(kept)
        return kept

    @property
    def _place(self) -> str:
        return f"the token server at {self._settings.token_address.partition('?')[0]}"

    def _asked(self, given: Mapping[str, str]) -> Mapping[str, Any]:
        import httpx

        settings = self._settings
        try:
            answer = httpx.post(
                settings.token_address,
                data=dict(given),
                headers={"accept": "application/json"},
                timeout=settings.timeout,
                follow_redirects=False,
                verify=settings.context(self._directory),
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryLater(f"{self._place} does not answer: {type(error).__name__}") from None
        try:
            content = answer.json() if len(answer.content) <= _LARGEST else None
        except (ValueError, RecursionError):
            content = None
        if answer.status_code == 200 and isinstance(content, dict):
            return content
        delay = None
        with suppress(ValueError):
            delay = float(answer.headers.get("retry-after", ""))
        problem = str(content.get("error", "")) if isinstance(content, dict) else ""
        if answer.status_code not in (400, 401, 403) or not problem or problem in _AWAY:
            raise TryLater(f"{self._place} answered {answer.status_code} {problem}".rstrip(), delay=delay)
        assert isinstance(content, dict), "it names a problem"
        told = " ".join(str(content.get("error_description") or "").split())[:300]
        hint = _HINTS.get(problem, "see oauth, client_id and scope of the account").format(
            secret=settings.refresh_token
        )
        raise CredentialsWrong(
            f"{self._place} does not renew the token of {settings.login}: {problem}{f': {told}' if told else ''}",
            hint=hint,
        )

    # The file

    def _read(self) -> _Kept | None:
        """Return what the file keeps of this refresh token; nothing of a file that is missing or damaged.

        Raises:
            SettingsError: others may read it.
        """
        if not self._settings.token_file:
            return None
        try:
            with self._file.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    raise SettingsError(f"others may read {self._file}", hint=f"chmod 600 {self._file}")
                content = json.loads(file.read(_LARGEST))
            if content["key"] != self._key:
                return None
            return _Kept(access=content["access"], until=float(content["until"]), refresh=content["refresh"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _write(self, kept: _Kept) -> None:
        if not self._settings.token_file:
            return
        content = {"key": self._key, **attrs.asdict(kept)}
        try:
            with whole_file(self._file) as beside:
                beside.unlink(missing_ok=True)
                # Made with these rights, not given them later: there is no moment at which others may read it.
                made = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(made, "w", encoding="utf-8") as file:
                    json.dump(content, file)
        except OSError as error:
            raise TryLater(f"token_file {self._file} cannot be written: {error.strerror}", delay=60) from None

    @property
    def _file(self) -> Path:
        return (self._directory or Path()) / Path(self._settings.token_file).expanduser()
