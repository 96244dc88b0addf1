"""The keys of `[channels.<name>]` with `type = "email"`."""

from __future__ import annotations

import re
import ssl
from codecs import lookup
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from crm_core.errors import TryLater
from crm_core.settings import Secret

Security = Literal["tls", "starttls", "plain"]
IMAP_PORTS: Final = {"tls": 993, "starttls": 143, "plain": 143}
SMTP_PORTS: Final = {"tls": 465, "starttls": 587, "plain": 25}
TOKEN_SERVERS: Final = {
    "google": ("https://oauth2.googleapis.com/token", ""),
    "microsoft": (
        "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access",
    ),
}
"""Where tokens are renewed, and for what; without a scope it is for what the refresh token was made."""
_HERE: Final = ("127.0.0.1", "::1", "localhost")
_LINE: Final = re.compile(r"[\r\n\x00]")


def _one_line(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if _LINE.search(value):
        raise ValueError(f"{attribute.name} must be one line")


def _address(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not re.fullmatch(r"[^@\s<>,;:\"()\[\]]+@[^@\s<>,;:\"()\[\]]+", value):
        raise ValueError(f"{attribute.name} must be an e-mail address, such as support@example.org")


def _charset(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        lookup(value)
    except LookupError:
        raise ValueError(f"{attribute.name} must be a charset, such as windows-1256") from None


def _day(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if value:
        try:
            date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{attribute.name} must be a day, such as 2026-01-31") from None


def _token_url(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    parts = urlsplit(value)
    if value and not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE)):
        raise ValueError("token_url must begin with https://: secrets go there")


@attrs.frozen(kw_only=True)
class EmailSettings:
    """An account: its address, where its mailbox is, where it sends, and what bounds a mail that comes in.

    A server that is not named is not used: an account may only read, or only send. `user` is the address unless it is
    named. In the place of the password may be `token`, one of OAuth2 (XOAUTH2), or `refresh_token`, by which such are
    fetched from the server of `oauth` or `token_url`.
    """

    address: str = attrs.field(validator=_address)
    name: str = attrs.field(default="", validator=_one_line)
    user: str = attrs.field(default="", validator=_one_line)
    password: Secret | None = None
    token: Secret | None = None
    refresh_token: Secret | None = None
    oauth: Literal["google", "microsoft", "other"] = "other"
    client_id: str = attrs.field(default="", validator=_one_line)
    client_secret: Secret | None = None
    tenant: str = attrs.field(default="common", validator=attrs.validators.matches_re(r"[\w.-]{1,100}"))
    token_url: str = attrs.field(default="", validator=_token_url)
    scope: str = attrs.field(default="", validator=_one_line)
    token_file: str = ""
    imap_host: str = ""
    imap_port: int = 0
    imap_security: Security = "tls"
    smtp_host: str = ""
    smtp_port: int = 0
    smtp_security: Security = "tls"
    smtp_login: bool = True
    smtp_user: str = attrs.field(default="", validator=_one_line)
    smtp_password: Secret | None = None
    ca_file: str = ""
    timeout: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    idle: bool = True
    folders: tuple[str, ...] = attrs.field(default=("INBOX",), validator=attrs.validators.min_len(1))
    sent: str = attrs.field(default="", validator=_one_line)
    since: str = attrs.field(default="", validator=_day)
    afterwards: Literal["leave", "mark_read", "delete"] = "leave"
    charset: str = attrs.field(default="windows-1252", validator=_charset)
    max_bytes: int = attrs.field(default=25_000_000, validator=attrs.validators.ge(10_000))
    max_parts: int = attrs.field(default=200, validator=attrs.validators.ge(1))
    max_depth: int = attrs.field(default=20, validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        if not self.imap_host and not self.smtp_host:
            raise ValueError("imap_host or smtp_host must be named, or both")
        if self.sent in self.folders:
            raise ValueError("sent must not be one of folders: what is in it was written by us")
        given = [each for each in (self.password, self.token, self.refresh_token) if each is not None]
        if len(given) > 1:
            raise ValueError("password, token and refresh_token exclude each other")
        if not given and (self.imap_host or self.smtp_login):
            raise ValueError(
                "password, token or refresh_token must say where the secret is; smtp_login = false sends without any"
            )
        if self.refresh_token is not None and not (self.client_id and self.token_address):
            raise ValueError(
                'with refresh_token, client_id and oauth ("google", "microsoft") or token_url must be named'
            )

    @property
    def read_folders(self) -> tuple[str, ...]:
        """The folders that are read, that of sent mails last."""
        return (*self.folders, self.sent) if self.sent else self.folders

    @property
    def login(self) -> str:
        """Who logs in."""
        return self.user or self.address

    @property
    def by_token(self) -> bool:
        """Whether it logs in by a token of OAuth2."""
        return self.token is not None or self.refresh_token is not None

    @property
    def token_address(self) -> str:
        """Where tokens are renewed; empty if nothing says it."""
        return self.token_url or TOKEN_SERVERS.get(self.oauth, ("", ""))[0].format(tenant=self.tenant)

    @property
    def scopes(self) -> str:
        """What tokens are renewed for; empty for what the refresh token was made for."""
        return self.scope or TOKEN_SERVERS.get(self.oauth, ("", ""))[1]

    def context(self, directory: Path | None) -> ssl.SSLContext:
        """Return what proves the servers: the authorities of the machine, or those of `ca_file`.

        Raises:
            TryLater: `ca_file` cannot be read.
        """
        place = str((directory or Path()) / Path(self.ca_file).expanduser()) if self.ca_file else None
        try:
            return ssl.create_default_context(cafile=place)
        except OSError as error:
            raise TryLater(
                f"ca_file {place} cannot be used: {error.strerror or 'no certificates'}", delay=600
            ) from None
