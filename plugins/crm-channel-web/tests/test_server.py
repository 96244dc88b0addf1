"""The server: what it takes, what it refuses, what it says, over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, User
from crm_core.errors import CredentialsWrong, StorageLocked
from crm_inbox import InboxMessage

from .conftest import Client, event, serving, signed_event

pytestmark = pytest.mark.database("sqlite")
OLD = b"the key of last year...."


def send(client: Client, number: int, **changes: Any) -> int:
    body = event(number)
    return client.post("/hooks/events", body, signed_event(body, f"msg_{number}", time.time(), **changes)).status


def test_a_signed_event_is_answered_when_it_is_stored(client: Client, crm: CRM) -> None:
    body = event(1, "سلام، سفارش ۱۲۳ کجاست؟", thread="t1", subject="سفارش")
    assert 200 == client.post("/hooks/events", body, signed_event(body, "msg_1", time.time())).status
    (stored,) = crm.interactions.find()
    assert ("سلام، سفارش ۱۲۳ کجاست؟", "سفارش", "webhook") == (stored.body, stored.subject, stored.channel)
    assert stored.customer_id is not None
    assert "webhook" == crm.customers.get(stored.customer_id).source


def test_an_event_is_stored_once_however_often_and_at_once_it_comes(client: Client, crm: CRM) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: send(client, number % 10), range(60)))
    assert {200} == set(found)
    assert 10 == crm.interactions.count() == crm.records(InboxMessage).count()
    assert 7 == crm.customers.count()


def test_an_event_sets_nothing_but_what_the_settings_name(client: Client, crm: CRM) -> None:
    owner = crm.users.add(User(name="Nina"))
    content = json.loads(event(1))
    forged = {"id": 1, "version": 9, "created_tx": 1, "owner_id": owner.id, "customer_id": 1, "tags": ["vip"]}
    forged |= {"direction": "out", "needs_answer": False, "source": "forged", "author_id": owner.id}
    body = json.dumps({**content, **forged, "data": {**content["data"], **forged}}).encode()
    assert 200 == client.post("/hooks/events", body, signed_event(body, "msg_1", time.time())).status
    (said,) = crm.interactions.find()
    assert ("in", True, None) == (said.direction, said.needs_answer, said.author_id)
    assert said.customer_id is not None
    made = crm.customers.get(said.customer_id)
    assert (None, "webhook", ()) == (made.owner_id, made.source, made.tags)
    assert 1 not in (said.id, made.id, said.created_tx)


def test_two_secrets_are_valid_while_one_is_changed(client: Client, crm: CRM) -> None:
    assert [200, 200, 403] == [send(client, 1), send(client, 2, key=OLD), send(client, 3, key=b"another one........")]
    assert 2 == crm.interactions.count()


def test_what_is_forged_stale_or_no_event_is_refused_without_a_reason(
    client: Client, crm: CRM, caplog: pytest.LogCaptureFixture
) -> None:
    now, body = time.time(), event(1)
    good = signed_event(body, "msg_1", now)
    tried = [
        (body, {}),
        (body + b" ", good),
        (body, {**good, "webhook-id": "msg_2"}),
        (body, {**good, "webhook-signature": "v1,"}),
        (body, {**good, "webhook-signature": "ü" * 40}),
        (body, signed_event(body, "msg_1", now - 301)),
        (body, signed_event(body, "msg_1", now + 600)),
        *((raw, signed_event(raw, "msg_1", now)) for raw in (b"\xff\xfe{", b"[" * 90_000, b"[]", b'{"data": {}}')),
    ]
    for number, (raw, headers) in enumerate(tried):
        answer = client.post("/hooks/events", raw, headers)
        assert (number, 403, "") == (number, answer.status, answer.text)
    assert 0 == crm.interactions.count() == crm.customers.count()
    assert "not of the last five minutes" in caplog.text


def test_only_webhooks_of_accounts_with_a_secret_are_there(client: Client, crm: CRM, place: Path) -> None:
    assert [404] * 4 == [
        client("POST", path).status for path in ("/hooks/open", "/hooks/none", "/hooks/none/events", "/")
    ]
    answer = client("PUT", "/hooks/events", b"x")
    assert (405, "GET, POST") == (answer.status, answer.headers["allow"])
    with serving(crm) as again:
        assert 403 == again("POST", "/hooks/events", b"{}").status


def test_a_body_that_is_too_large_or_too_slow_is_ended(client: Client, crm: CRM) -> None:
    head = b"POST /hooks/events HTTP/1.1\r\nHost: x\r\n"
    assert b" 413 " in client.raw(head + b"Content-Length: 100001\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert b" 413 " in client.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2)
    with serving(crm, slowest=0.3) as impatient:
        began = time.monotonic()
        assert b" 408 " in impatient.raw(head + b"Content-Length: 10\r\n\r\nabc")
        assert time.monotonic() - began < 5
    assert 200 == send(client, 1)


def test_an_account_whose_secret_is_taken_away_asks_to_come_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENTS")
    body = event(1)
    answer = client.post("/hooks/events", body, signed_event(body, "msg_1", time.time()))
    assert (503, "10") == (answer.status, answer.headers["retry-after"])


def test_the_check_finds_a_secret_that_is_no_key_or_can_be_guessed(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    with crm.channels.open("events") as channel:
        assert "the secret is there" in channel.check()
        for wrong in ("not base64!", "whsec_c2hvcnQ="):
            monkeypatch.setenv("EVENTS", wrong)
            with pytest.raises(CredentialsWrong) as caught:
                channel.check()
            assert wrong not in str(caught.value)


def test_a_challenge_is_answered_as_the_channel_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The channel of crm-channel-messengers: whoever sets up its webhook is asked for a text."""
    monkeypatch.setenv("VERIFY", "canary-77")
    secrets = "".join(f'{name} = {{env = "VERIFY"}}\n' for name in ("token", "app_secret", "verify_token"))
    settings = f'[channels.wa]\ntype = "whatsapp"\nphone_number_id = "77"\n{secrets}'
    (place / "crm.toml").write_text(f'[storage]\nurl = "sqlite:///crm.db"\n{settings}', "utf-8")
    asked = "/hooks/wa?hub.mode=subscribe&hub.challenge=1158%3Cb%3E&hub.verify_token="
    with CRM.open(place) as crm, serving(crm) as client:
        answer = client("GET", f"{asked}canary-77")
        assert (200, "1158<b>") == (answer.status, answer.text)
        assert ("text/plain; charset=utf-8", "nosniff") == (
            answer.headers["content-type"],
            answer.headers["x-content-type-options"],
        )
        assert 403 == client("GET", f"{asked}wrong").status


def test_while_the_database_is_away_services_are_asked_to_come_again(
    client: Client, crm: CRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StorageLocked("the database is held by somebody else")

    assert 200 == client("GET", "/health").status
    with monkeypatch.context() as patch:
        patch.setattr(crm.storage, "begin", away)
        patch.setattr(crm.customers, "find", away)
        assert [503, 503] == [send(client, 1), client("GET", "/health").status]
    assert 200 == send(client, 1)
    assert 1 == crm.interactions.count()


def test_when_too_many_wait_the_others_are_asked_to_come_again(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = crm.storage.begin

    def slow(*given: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return begin(*given, **named)

    monkeypatch.setattr(crm.storage, "begin", slow)
    with serving(crm, waiting=2) as client, ThreadPoolExecutor(12) as pool:
        found = Counter(pool.map(lambda number: send(client, number), range(12)))
    assert {200, 503} == set(found)
    assert found[200] == crm.interactions.count()


def test_what_was_answered_is_there_after_a_kill(place: Path) -> None:
    """Each event is sent until it is answered; the server is killed while events come in, and started again."""
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "hooks", "serve", "--port"]
    answered: list[int] = []
    port = "0"
    for part in range(2):
        with subprocess.Popen([*command, port], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            port = server.stdout.readline().split(":")[2].partition("/")[0]
            client = Client(int(port))
            _until_up(client)
            if part == 0:
                _send_until_killed(client, server, answered)
            else:
                assert [200] * 60 == [send(client, number) for number in range(60)]
                server.send_signal(signal.SIGTERM)
                server.wait(20)
        with CRM.open(place) as crm:
            keys = crm.external_ids.find_many("interaction", "channel:events", [f"msg_{n}" for n in range(60)])
            assert set() == {f"msg_{number}" for number in answered} - set(keys)
            assert len(keys) == crm.interactions.count()
    assert 60 == len(keys)


def _until_up(client: Client) -> None:
    for _ in range(100):
        try:
            if client("GET", "/health").status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


def _send_until_killed(client: Client, server: subprocess.Popen[str], answered: list[int]) -> None:
    def one(number: int) -> None:
        if number == 25:
            os.kill(server.pid, signal.SIGKILL)
        try:
            if send(client, number) == 200:
                answered.append(number)
        except OSError:
            pass  # no answer, no promise

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(50)))
    assert answered, "nothing was answered before the kill"
