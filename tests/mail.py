"""Real mail servers of a test's own: Debian's Dovecot without privileges on a free port, and aiosmtpd."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from warnings import catch_warnings

import attrs
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

PASSWORD = "canary-5f2d9c1b7e"
_PROGRAM = shutil.which("dovecot") or shutil.which("/usr/sbin/dovecot")
MISSING = "" if _PROGRAM else "NOT RUN: dovecot (not found): apt-get install dovecot-imapd"
_SETTINGS = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
default_vsz_limit = 0
protocols = imap
ssl = {tls}
{certificate}
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
{oauth}
first_valid_uid = {uid}
first_valid_gid = {gid}
mail_location = maildir:{place}/mail/%u
maildir_very_dirty_syncs = no
mail_fsync = never
auth_failure_delay = 0
mail_max_userip_connections = 0
passdb {{
  driver = static
  args = password={place_password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={place}/home/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""
_OAUTH = """passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {place}/oauth
}}"""


@attrs.frozen(kw_only=True)
class Dovecot:
    """A server that lets everybody in with `PASSWORD`; each user has a mailbox of its own, made by its first mail."""

    place: Path
    port: int
    tls_port: int = 0
    process: subprocess.Popen[bytes] = attrs.field(repr=False)

    def deliver(self, user: str, raw: bytes, name: str = "") -> None:
        """Put a mail, or any bytes, into the inbox as a delivery agent does: whole, or not at all."""
        inbox = self.inbox(user)
        number = len(list((inbox / "new").iterdir())) + len(list((inbox / "cur").iterdir()))
        name = name or f"{1_700_000_000 + number}.M{number:06}P1.test"
        part = inbox / "tmp" / name
        part.write_bytes(raw)
        part.chmod(0o666)
        part.rename(inbox / "new" / name)

    def inbox(self, user: str) -> Path:
        """Return the Maildir of a user."""
        inbox = self.place / "mail" / user
        for name in ("", "new", "cur", "tmp"):
            (inbox / name).mkdir(parents=True, exist_ok=True)
            with suppress(PermissionError):
                (inbox / name).chmod(0o777)
        return inbox

    def stop(self) -> None:
        """End the server, and with it what it started."""
        self.process.terminate()
        self.process.wait(20)

    def log(self) -> str:
        """Return what the server wrote down."""
        return (self.place / "log").read_text("utf-8", "replace") if (self.place / "log").exists() else ""


@contextmanager
def dovecot(*, certificate: tuple[Path, Path] | None = None, tokens: bytes = b"") -> Iterator[Dovecot]:
    """Run a server until the end of the `with`.

    Args:
        certificate: its certificate and key; None for one without TLS.
        tokens: the key (HS256) of the OAuth2 tokens that it takes by XOAUTH2 beside the password.
    """
    assert _PROGRAM, MISSING
    # It refuses to keep the mail of root, and who it is then cannot look into the folders of pytest.
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    place = Path(tempfile.mkdtemp(prefix="crm-dovecot-"))
    place.chmod(0o755)
    try:
        for name in ("run", "state", "mail", "home"):
            (place / name).mkdir()
            (place / name).chmod(0o777)
        port, tls_port = free_port(), free_port() if certificate else 0
        (place / "conf").write_text(_settings(place, owner, port, tls_port, certificate, tokens), "utf-8")
        if os.getuid() == 0:
            for path in (place, *place.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [_PROGRAM, "-F", "-c", str(place / "conf")]
        who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        # Away from here: a checkout may lie where only its owner may look.
        process = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)  # type: ignore[call-overload]
        server = Dovecot(place=place, port=port, tls_port=tls_port, process=process)
        try:
            _wait(server)
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


@attrs.define(kw_only=True)
class Post:
    """An SMTP server that keeps what it takes; `answer` is what it says to whoever sends, "" for yes."""

    port: int = 0
    taken: list[Envelope] = attrs.field(factory=list)
    answer: str = ""
    at: str = "RCPT"
    tokens: set[str] = attrs.field(factory=set)
    tried: list[str] = attrs.field(factory=list)
    ended: set[Any] = attrs.field(factory=set)
    """The other ends of the connections whose login has ended."""
    last: Any = None

    async def handle_MAIL(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        self.last = session.peer
        if session.peer in self.ended:
            return "530 5.7.57 Client not authenticated to send mail"
        if self.answer and self.at == "MAIL":
            return self.answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if self.answer and self.at == "RCPT":
            return self.answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(envelope)
        return self.answer if self.answer and self.at == "DATA" else "250 OK"

    async def auth_XOAUTH2(self, server: Any, arguments: list[str]) -> AuthResult:  # noqa: N802
        said = b64decode(arguments[1]).decode()
        self.tried.append(said)
        if said.split("\1")[1].removeprefix("auth=Bearer ") in self.tokens:
            return AuthResult(success=True, auth_data=said)
        await server.challenge_auth(b'{"status":"401"}')
        return AuthResult(success=False, handled=False)

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        known = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
        return AuthResult(success=known, handled=False)


class _Controller(Controller):
    """A server that hangs up when it ends: what clients left open would be complained of in another test."""

    transports: list[Any]

    def factory(self) -> Any:
        with catch_warnings(category=UserWarning, action="ignore"):  # a login without TLS is what is tested
            made = super().factory()
        begin = made.connection_made

        def connection_made(transport: Any) -> None:
            self.transports.append(transport)
            begin(transport)

        made.connection_made = connection_made
        return made

    def stop(self, no_assert: bool = False) -> None:
        for each in self.transports:
            self.loop.call_soon_threadsafe(each.abort)
        super().stop(no_assert)


@contextmanager
def post(
    *, certificate: tuple[Path, Path] | None = None, starttls: bool = False, login: bool = True, utf8: bool = True
) -> Iterator[Post]:
    """Run an SMTP server until the end of the `with`; with a certificate it speaks TLS at once, or by STARTTLS."""
    kept, context = Post(), None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
    more: dict[str, Any] = {"enable_SMTPUTF8": utf8, "server_hostname": "localhost"}
    if login:
        more |= {"authenticator": kept.authenticate, "auth_required": True, "auth_require_tls": False}
    if starttls:
        more |= {"tls_context": context, "require_starttls": True}
    controller = _Controller(kept, "127.0.0.1", free_port(), ssl_context=None if starttls else context, **more)
    controller.transports = []
    controller.start()
    kept.port = controller.port
    try:
        yield kept
    finally:
        controller.stop()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own authority, by openssl; returns it and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def _settings(
    place: Path,
    owner: pwd.struct_passwd,
    port: int,
    tls_port: int,
    certificate: tuple[Path, Path] | None,
    tokens: bytes,
) -> str:
    lines = ""
    if certificate:
        for path, name in zip(certificate, ("certificate.pem", "key.pem"), strict=True):
            shutil.copy(path, place / name)
        lines = f"ssl_cert = <{place}/certificate.pem\nssl_key = <{place}/key.pem"
    if tokens:
        keys = place / "keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        (keys / "default").write_bytes(b64encode(tokens))
        (place / "oauth").write_text(
            "introspection_mode = local\n"
            f"local_validation_key_dict = fs:posix:prefix={place}/keys/\n"
            "username_attribute = sub\n",
            "utf-8",
        )
    return _SETTINGS.format(
        place=place,
        user=owner.pw_name,
        group=grp.getgrgid(owner.pw_gid).gr_name,
        uid=owner.pw_uid,
        gid=owner.pw_gid,
        port=port,
        tls_port=tls_port,
        tls="yes" if certificate else "no",
        certificate=lines,
        mechanisms="plain login xoauth2" if tokens else "plain login",
        oauth=_OAUTH.format(place=place) if tokens else "",
        place_password=PASSWORD,
    )


def _wait(server: Dovecot) -> None:
    until = monotonic() + 20
    while monotonic() < until:
        if server.process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 2) as probe:
            probe.settimeout(5)
            if probe.recv(100).startswith(b"* OK"):
                return
        sleep(0.05)
    raise AssertionError(f"dovecot did not begin to answer:\n{server.log()[-4000:]}")
