"""Real servers for the tests of a session: a Dovecot, and an SMTP server for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crm_channel_email.channel import EmailChannel
from crm_channel_email.settings import EmailSettings
from crm_core.extend import ChannelAccount
from crm_core.settings import Secret
from tests.mail import MISSING, PASSWORD, Dovecot, Post, dovecot, make_certificate, post

Open = Callable[..., EmailChannel]
TOKEN_KEY = b"a key of thirty-two bytes, or so"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def imap(certificate: tuple[Path, Path]) -> Iterator[Dovecot]:
    if MISSING:
        pytest.skip(MISSING)
    with dovecot(certificate=certificate, tokens=TOKEN_KEY) as server:
        yield server


@pytest.fixture
def smtp() -> Iterator[Post]:
    with post() as server:
        yield server


@pytest.fixture
def user(tmp_path: Path) -> str:
    """The name of a mailbox that no other test has."""
    return f"{abs(hash(tmp_path))}@example.org"


@pytest.fixture
def account(user: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open an account with some settings, as often as it is called."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    with ExitStack() as opened:

        def make(**more: Any) -> EmailChannel:
            given: dict[str, Any] = {"address": user, "imap_security": "plain", "smtp_security": "plain"}
            given |= {"password": Secret(env="MAIL_PASSWORD"), **more}
            for name in ("imap", "smtp"):
                if f"{name}_port" in given:
                    given.setdefault(f"{name}_host", "127.0.0.1")
            return opened.enter_context(EmailChannel(ChannelAccount(name="desk", settings=EmailSettings(**given))))

        yield make
