"""A connection to Asterisk's manager interface: logging in, and the events that come."""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Final, Literal

import attrs

from crm_channel_phone.packets import Packet, Packets, written
from crm_core.errors import CredentialsWrong, TryLater
from crm_core.settings import Secret

_SECONDS: Final = 10.0
_BEAT: Final = 1.0
_QUIET: Final = 30.0
"""Seconds of silence after which the exchange is asked whether it is there; as many again, and it is not."""
_EVENTS: Final = "call,cdr,reporting"


def _one_line(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value or any(mark in value for mark in "\r\n\x00"):
        raise ValueError(f"{attribute.name} must be one line of text")


@attrs.frozen(kw_only=True)
class AmiSettings:
    """The keys of `[channels.<name>]` with `type = "phone-ami"`.

    Args:
        host: where the exchange is.
        user: a user of manager.conf whose `read` has call, cdr and reporting.
        secret: its secret.
        port: 5038, or 5039 with `tls`.
        login: "md5" answers a challenge, so that the secret is not sent; "plain" sends it.
        tls: whether the connection is encrypted; the certificate is checked.
        ca_file: the authority that signed it, where the system does not know that.
        zone: the zone of the times in `Cdr` events.
        extension_digits, own, inbound, outbound, outside: which side is ours; see `Numbering`.
    """

    host: str = attrs.field(validator=_one_line)
    user: str = attrs.field(validator=_one_line)
    secret: Secret
    port: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(65535)])
    login: Literal["md5", "plain"] = "md5"
    tls: bool = False
    ca_file: str = ""
    zone: str = "UTC"
    extension_digits: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    own: tuple[str, ...] = ()
    inbound: tuple[str, ...] = ()
    outbound: tuple[str, ...] = ()
    outside: str = ""


class Manager:
    """A connection that is logged in; to be closed, or used in a `with`.

    Raises:
        TryLater: the exchange is away, or speaks another protocol.
        CredentialsWrong: it does not know the user or the secret.
    """

    def __init__(self, settings: AmiSettings, *, quiet: float = _QUIET) -> None:
        self._settings = settings
        self._quiet = quiet
        self._packets = Packets()
        self._came: list[Packet] = []
        self._ids = itertools.count(1)
        self._socket = _connected(settings)
        try:
            self.version = self._greeting()
            self._log_in()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def send(self, action: str, **fields: str) -> str:
        """Send an action; returns the id that its answer has."""
        number = f"crm-{next(self._ids)}"
        try:
            self._socket.sendall(written({"Action": action, "ActionID": number, **fields}))
        except OSError as error:
            raise TryLater(f"the connection to the exchange broke: {_words(error)}") from None
        return number

    def packets(self) -> Iterator[Packet | None]:
        """Yield what comes, for ever; None each second in which nothing does.

        Raises:
            TryLater: the connection broke, or the exchange has fallen silent.
        """
        self._socket.settimeout(_BEAT)
        heard, asked = monotonic(), 0.0
        while True:
            found = self._more()
            if found is not None:
                heard, asked = monotonic(), 0.0
                yield from found
                continue
            if asked and monotonic() - asked > self._quiet:
                raise TryLater(f"the exchange has been silent for {monotonic() - heard:.0f} seconds")
            if not asked and monotonic() - heard > self._quiet:
                self.send("Ping")
                asked = monotonic()
            yield None

    def _more(self) -> list[Packet] | None:
        """Return the packets that are whole by now; None if nothing came."""
        if self._came:
            found, self._came = self._came, []
            return found
        try:
            content = self._socket.recv(65_536)
        except TimeoutError:
            return None
        except OSError as error:
            raise TryLater(f"the connection to the exchange broke: {_words(error)}") from None
        if not content:
            raise TryLater("the exchange ended the connection")
        return list(self._packets.feed(content))

    def _greeting(self) -> str:
        """Read the first line, which is no packet."""
        self._socket.settimeout(_SECONDS)
        line = b""
        try:
            while not line.endswith(b"\n") and len(line) < 200:
                byte = self._socket.recv(1)
                if not byte:
                    break
                line += byte
        except OSError as error:
            raise TryLater(f"the exchange does not greet: {_words(error)}") from None
        told = line.decode("utf-8", "replace").strip()
        if not told.startswith("Asterisk Call Manager/"):
            raise TryLater("what answers is no Asterisk manager interface", hint="`host` and `port` say where it is")
        return told

    def _log_in(self) -> None:
        given = self._settings
        secret = given.secret.reveal()
        proof = {"Username": given.user, "Secret": secret}
        if given.login == "md5":
            challenge = self._answer(self.send("Challenge", AuthType="MD5")).get("challenge", "")
            key = hashlib.md5(f"{challenge}{secret}".encode(), usedforsecurity=False).hexdigest()
            proof = {"AuthType": "MD5", "Username": given.user, "Key": key}
        answer = self._answer(self.send("Login", **proof, Events=_EVENTS))
        if answer.get("response", "").casefold() != "success":
            told = answer.get("message", "no reason")[:200]
            raise CredentialsWrong(
                f"the exchange does not let {given.user} in: {told}", hint="manager.conf has users and secrets"
            )

    def _answer(self, number: str) -> Mapping[str, str]:
        end = monotonic() + _SECONDS
        while monotonic() < end:
            found = self._more()
            for at, packet in enumerate(found or ()):
                if packet.get("actionid") == number and "response" in packet:
                    self._came = list(found or ())[at + 1 :]
                    return packet
            if found is None:
                break
        raise TryLater("the exchange does not answer what it is asked")


def _connected(settings: AmiSettings) -> socket.socket:
    port = settings.port or (5039 if settings.tls else 5038)
    context = _context(settings.ca_file) if settings.tls else None
    try:
        plain = socket.create_connection((settings.host, port), timeout=_SECONDS)
    except (OSError, UnicodeError) as error:  # the name of the host may be none
        raise TryLater(f"the exchange at {settings.host}:{port} does not answer: {_words(error)}") from None
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=settings.host)
    except (OSError, ValueError) as error:
        plain.close()
        raise TryLater(
            f"the exchange at {settings.host}:{port} cannot be spoken to in secret: {_words(error)}",
            hint="`ca_file` names the authority of its certificate; without `tls` it has another port",
        ) from None


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise TryLater(f"ca_file: {ca_file} cannot be read: {_words(error)}") from None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
