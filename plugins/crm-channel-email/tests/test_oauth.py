"""Tokens of OAuth2: renewed at a fake token server, taken by a real Dovecot and SMTP server, shown to nobody."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from crm_channel_email import oauth
from crm_channel_email.channel import EmailChannel
from crm_channel_email.settings import EmailSettings
from crm_core import CRM
from crm_core.errors import ChannelError, CredentialsWrong, SettingsError, TryLater
from crm_core.extend import Address, ChannelAccount, OutgoingMessage
from crm_core.settings import Secret
from tests.mail import Dovecot, Post, free_port

from .conftest import TOKEN_KEY, Open
from .fake_tokens import CLIENT, CLIENT_SECRET, REFRESH, FakeTokenServer, fake_token_server
from .test_mailbox import mail, token


@pytest.fixture
def fake(user: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTokenServer]:
    monkeypatch.setenv("CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("REFRESH", REFRESH)
    monkeypatch.setattr(oauth, "_kept", {})  # what a process that just began remembers
    with fake_token_server(lambda: token(user, TOKEN_KEY)) as server:
        yield server


def settings(fake: FakeTokenServer, **more: Any) -> dict[str, Any]:
    given = {"password": None, "refresh_token": Secret(env="REFRESH"), "client_id": CLIENT}
    return {**given, "client_secret": Secret(env="CLIENT_SECRET"), "token_url": fake.url, **more}


def message() -> OutgoingMessage:
    return OutgoingMessage(message_id="<m@x.org>", recipient=Address(kind="email", value="sara@example.org"), text="x")


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget as a process does that ends."""
    monkeypatch.setattr(oauth, "_kept", {})


def test_a_token_is_fetched_once_and_serves_both_servers_until_it_ends(
    imap: Dovecot, smtp: Post, user: str, account: Open, fake: FakeTokenServer
) -> None:
    issued = [token(user, TOKEN_KEY)]
    fake.issue = lambda: issued[-1]
    smtp.tokens.add(issued[0])
    imap.deliver(user, mail(1))
    for _ in range(2):
        desk = account(imap_port=imap.port, smtp_port=smtp.port, **settings(fake))
        assert 1 == len(desk.poll("").messages), imap.log()[-2000:]
        desk.send(message())
    assert 2 == len(smtp.taken)
    assert [
        {"grant_type": "refresh_token", "refresh_token": REFRESH, "client_id": CLIENT, "client_secret": CLIENT_SECRET}
    ] == (fake.asked)
    key, kept = next(iter(oauth._kept.items()))
    oauth._kept[key] = oauth._Kept(access=kept.access, until=kept.until - 3590)
    account(imap_port=imap.port, **settings(fake)).check()
    assert 2 == len(fake.asked), "one that ends within a minute is renewed"


def test_one_that_was_withdrawn_before_its_end_is_renewed_once(
    imap: Dovecot, smtp: Post, user: str, account: Open, fake: FakeTokenServer
) -> None:
    fake.issue = lambda: token(user, TOKEN_KEY if len(fake.asked) > 1 else b"a key that was withdrawn")
    account(imap_port=imap.port, **settings(fake)).check()
    assert 2 == len(fake.asked)
    numbers = count()
    fake.issue = lambda: f"t{next(numbers)}"
    smtp.tokens.add("t0")
    account(smtp_port=smtp.port, **settings(fake)).check()
    assert 3 == len(fake.asked)
    smtp.tokens.clear()
    with pytest.raises(CredentialsWrong):
        account(smtp_port=smtp.port, **settings(fake)).check()
    assert 4 == len(fake.asked), "not again and again"


def test_a_login_that_ends_in_mid_session_is_made_anew_once(
    smtp: Post, user: str, account: Open, fake: FakeTokenServer
) -> None:
    numbers = count()
    fake.issue = lambda: f"t{next(numbers)}"
    smtp.tokens |= {"t0", "t1"}
    desk = account(smtp_port=smtp.port, **settings(fake))
    desk.send(message())
    smtp.ended.add(smtp.last)
    smtp.tokens.remove("t0")
    desk.send(message())
    assert (2, 2) == (len(smtp.taken), len(fake.asked))
    assert ["t0", "t0", "t1"] == [each.rpartition(" ")[2].strip("\1") for each in smtp.tried]


@pytest.mark.parametrize(
    ("fault", "error", "told", "hint"),
    [
        (
            (400, b'{"error": "invalid_grant", "error_description": "expired"}'),
            CredentialsWrong,
            "invalid_grant: expired",
            "the environment variable REFRESH",
        ),
        ((401, b'{"error": "invalid_client"}'), CredentialsWrong, "invalid_client", "client_id and client_secret"),
        ((400, b'{"error": "invalid_scope"}'), CredentialsWrong, "invalid_scope", "see scope"),
        ((400, b'{"error": "something_new"}'), CredentialsWrong, "something_new", "see oauth"),
        ((400, b'{"error": "temporarily_unavailable"}'), TryLater, "400 temporarily_unavailable", ""),
        ((429, b'{"error": "slow_down"}'), TryLater, "429", ""),
        ((503, b"<html>"), TryLater, "503", ""),
        ((302, b""), TryLater, "302", ""),
        ((200, b"{}"), TryLater, "without a token", "token_url"),
        ((200, b'{"access_token": "x", "token_type": "mac"}'), TryLater, "without a token", "token_url"),
        ((200, b"["), TryLater, "200", ""),
    ],
)
def test_what_the_token_server_refuses_is_told_apart_from_one_that_is_away(
    imap: Dovecot, account: Open, fake: FakeTokenServer, fault: Any, error: type[ChannelError], told: str, hint: str
) -> None:
    fake.fault = fault
    with pytest.raises(error) as caught:
        account(imap_port=imap.port, **settings(fake)).poll("")
    assert error is type(caught.value)
    assert told in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "the token server at http://127.0.0.1" in caught.value.message


def test_a_token_server_that_is_not_there_is_waited_for(account: Open, imap: Dovecot, fake: FakeTokenServer) -> None:
    with pytest.raises(TryLater, match="does not answer"):
        account(imap_port=imap.port, **settings(fake, token_url=f"http://127.0.0.1:{free_port()}/")).poll("")


def test_a_token_in_a_file_outlives_the_process_and_is_for_its_owner_only(
    imap: Dovecot, user: str, fake: FakeTokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.rotates = True

    def check(**more: Any) -> None:
        forget(monkeypatch)
        given = settings(fake, token_file="token.json", **more)
        made = EmailSettings(address=user, imap_host="127.0.0.1", imap_port=imap.port, imap_security="plain", **given)
        with EmailChannel(ChannelAccount(name="desk", settings=made, directory=tmp_path)) as channel:
            channel.check()

    before = os.umask(0)
    try:
        check()
    finally:
        os.umask(before)
    file = tmp_path / "token.json"
    assert 0o600 == file.stat().st_mode & 0o777
    check()
    assert 1 == len(fake.asked)
    kept = json.loads(file.read_text("utf-8"))
    assert f"{REFRESH}+" == kept["refresh"]
    file.write_text(json.dumps({**kept, "until": 0}), "utf-8")
    check()
    assert f"{REFRESH}+" == fake.asked[-1]["refresh_token"], "the newest refresh token is the one that is good"
    assert ["token.json"] == [each.name for each in tmp_path.iterdir()]
    file.write_bytes(b"\x00damaged")
    fake.refresh = REFRESH
    check()
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="others may read"):
        check()
    file.chmod(0o600)
    monkeypatch.setenv("REFRESH", "another one")
    with pytest.raises(CredentialsWrong):
        check()


def test_no_token_is_ever_shown(
    imap: Dovecot, smtp: Post, user: str, fake: FakeTokenServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    fake.issue = lambda: "access-canary-33ef"
    fake.rotates = True
    lines = ["[storage]", 'url = "memory:"', "[channels.desk]", 'type = "email"', f'address = "{user}"']
    lines += [f'client_id = "{CLIENT}"', f'token_url = "{fake.url}"', 'token_file = "token.json"']
    lines += ['refresh_token = {env = "REFRESH"}', 'client_secret = {env = "CLIENT_SECRET"}']
    for name, port in (("imap", imap.port), ("smtp", smtp.port)):
        lines += [f'{name}_host = "127.0.0.1"', f"{name}_port = {port}", f'{name}_security = "plain"']
    (tmp_path / "crm.toml").write_text("\n".join(lines), "utf-8")
    shown = []
    with CRM.open(tmp_path) as crm, crm.channels.open("desk") as channel:
        for call in (lambda: channel.poll(""), lambda: channel.send(message()), channel.check):
            with pytest.raises(CredentialsWrong) as caught:
                call()  # type: ignore[operator]
            shown += [str(caught.value), caught.value.hint or "", repr(caught.value)]
        fake.fault = (
            400,
            b'{"error": "invalid_grant", "error_description": "%s %s"}' % (REFRESH.encode(), CLIENT_SECRET.encode()),
        )
        with pytest.raises(CredentialsWrong) as caught:
            channel.check()
        shown += [str(caught.value), caught.value.hint or "", repr(channel._channel), repr(oauth._kept)]
        shown += [repr(value) for value in vars(channel._channel).values()]
    shown += [record.getMessage() for record in caplog.records]
    assert fake.asked
    for canary in ("access-canary-33ef", REFRESH, CLIENT_SECRET):
        assert [] == [each for each in shown if canary in each]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"token_url": "http://example.org/token", "client_id": "c"}, "must begin with https://"),
        ({"client_id": "c"}, "oauth"),
        ({"oauth": "google"}, "client_id"),
        ({"oauth": "google", "client_id": "c", "password": Secret(env="A")}, "exclude each other"),
        ({"oauth": "microsoft", "client_id": "c", "tenant": "a/../b"}, "tenant"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        EmailSettings(address="a@example.org", imap_host="x", refresh_token=Secret(env="R"), **given)


def test_the_servers_of_google_and_microsoft_are_known() -> None:
    def made(**more: Any) -> EmailSettings:
        return EmailSettings(address="a@x.org", imap_host="x", refresh_token=Secret(env="R"), client_id="c", **more)

    google, microsoft = made(oauth="google"), made(oauth="microsoft", tenant="contoso.example")
    assert ("https://oauth2.googleapis.com/token", "") == (google.token_address, google.scopes)
    assert "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token" == microsoft.token_address
    assert "IMAP.AccessAsUser.All" in microsoft.scopes
