"""The way out: one connection to an SMTP server, and what its answers mean."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from crm_channel_email.compose import Envelope
from crm_channel_email.oauth import Bearer
from crm_channel_email.settings import SMTP_PORTS, EmailSettings
from crm_core.errors import ChannelError, CredentialsWrong, MessageRejected, TryLater

_WRONG: Final = frozenset({530, 534, 535, 538})
"""Answers that mean the account: authentication is required, too weak, or wrong."""
_LONGEST: Final = 400


class Sender:
    """A server that takes mails; connected when it is first needed, and again when the server hung up."""

    def __init__(self, settings: EmailSettings, directory: Path | None) -> None:
        self._settings = settings
        self._directory = directory
        self._bearer = Bearer(settings, directory)
        self._server: smtplib.SMTP | None = None

    @property
    def place(self) -> str:
        """Where the server is, for people."""
        return f"{self._settings.smtp_host}:{self._settings.smtp_port or SMTP_PORTS[self._settings.smtp_security]}"

    def send(self, envelope: Envelope) -> None:
        """Hand a mail over.

        Raises:
            TryLater: the server is away, or says 4xx.
            MessageRejected: the server says 5xx, or cannot take an address that is not ASCII.
            CredentialsWrong: the server does not let the account in.
        """
        earlier = self._server
        try:
            self._hand_over(envelope)
        except CredentialsWrong:
            if earlier is None or self._server is not earlier:
                raise
            # A login may end, as with its token; a server tells that only now, having taken nothing.
            self.close()
            self._hand_over(envelope)

    def _hand_over(self, envelope: Envelope) -> None:
        with self._told():
            server = self.connect()
            options = ["SMTPUTF8", "BODY=8BITMIME"] if envelope.international else []
            if envelope.international and not server.has_extn("smtputf8"):
                raise MessageRejected(
                    f"{self.place} cannot send to {envelope.recipient}: it lacks SMTPUTF8",
                    hint="only the part before the @ is in question; ask for another address",
                )
            server.sendmail(envelope.sender, [envelope.recipient], envelope.content, mail_options=options)

    def check(self) -> str:
        """Log in without sending; returns in words what was reached."""
        with self._told():
            self.connect()
        return f"sends by {self.place} ({self._settings.smtp_security})"

    def close(self) -> None:
        """Hang up."""
        server, self._server = self._server, None
        if server is not None:
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()

    def connect(self) -> smtplib.SMTP:
        """Return the connection; one that the server gave up meanwhile is made again."""
        if self._server is not None:
            with suppress(OSError, smtplib.SMTPException):
                if self._server.noop()[0] == 250:
                    return self._server
            self.close()
        self._server = self._connected()
        return self._server

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        context = None if settings.smtp_security == "plain" else settings.context(self._directory)
        ourselves = settings.address.rpartition("@")[2]
        ourselves = ourselves if ourselves.isascii() else "localhost"
        port = settings.smtp_port or SMTP_PORTS[settings.smtp_security]
        if settings.smtp_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.smtp_host, port, ourselves, timeout=settings.timeout, context=context
            )
        else:
            server = smtplib.SMTP(settings.smtp_host, port, ourselves, timeout=settings.timeout)
        try:
            server.ehlo_or_helo_if_needed()
            if settings.smtp_security == "starttls":
                if not server.has_extn("starttls"):
                    raise TryLater(f"{self.place} does not offer STARTTLS", hint='smtp_security may have to be "tls"')
                server.starttls(context=context)
                server.ehlo_or_helo_if_needed()
            if settings.smtp_login:
                self._login(server)
        except BaseException:
            server.close()
            raise
        return server

    def _login(self, server: smtplib.SMTP) -> None:
        settings = self._settings
        user = settings.smtp_user or settings.login
        if not server.has_extn("auth"):
            raise CredentialsWrong(
                f"{self.place} lets nobody log in this way",
                hint="smtp_security may have to be another one; smtp_login = false sends without a login",
            )
        try:
            if settings.by_token and settings.smtp_password is None:
                self._login_by_token(server, user)
            else:
                secret = settings.smtp_password or settings.password
                if secret is None:
                    raise CredentialsWrong(f"{self.place} wants a password", hint="name it by password or token")
                server.login(user, secret.reveal())
        except UnicodeEncodeError:
            raise CredentialsWrong(
                f"{self.place}: user and password must be ASCII to log in", hint="choose another password"
            ) from None

    def _login_by_token(self, server: smtplib.SMTP, user: str) -> None:
        def attempt(token: str) -> Exception | None:
            answer = f"user={user}\1auth=Bearer {token}\1\1"
            try:
                # What the server says of a token that is wrong is answered by nothing.
                server.auth("XOAUTH2", lambda challenge=None: "" if challenge else answer)
            except smtplib.SMTPAuthenticationError as error:
                said = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
                return smtplib.SMTPAuthenticationError(error.smtp_code, said.replace(token.encode(), b"***"))
            return None

        self._bearer.log_in(attempt)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except MessageRejected:
            raise
        except ChannelError:
            self.close()
            raise
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise self._answered(code, said) from None
        except smtplib.SMTPResponseException as error:
            if isinstance(error, smtplib.SMTPAuthenticationError) or error.smtp_code == 421:
                self.close()
            raise self._answered(error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPNotSupportedError as error:
            self.close()
            raise CredentialsWrong(f"{self.place}: {error}", hint="see smtp_security and smtp_login") from None
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise TryLater(
                f"{self.place}: its certificate is not to be trusted: {error.verify_message}",
                hint="smtp_host must be the name in the certificate; ca_file names an authority of your own",
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise TryLater(f"{self.place} cannot be reached: {_words(error)}") from None

    def _answered(self, code: int, said: bytes | str) -> ChannelError:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        told = f"{self.place} says: {code} {' '.join(text.split())[:_LONGEST]}"
        if code in _WRONG:
            return CredentialsWrong(told, hint="see user, password and token of the account")
        return MessageRejected(told) if 500 <= code < 600 and not re.match(r"\s*4\.\d", text) else TryLater(told)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
