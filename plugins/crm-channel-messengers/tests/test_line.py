"""A line of Kavenegar as a team runs it: polled, called at its address, and written to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any
from urllib.parse import urlencode

import pytest

from crm_channel_web import HookApp
from crm_core import CRM, Consent
from crm_core.extend import JobRun
from crm_inbox import OutboxMessage, send
from crm_inbox.polling import poll_account
from crm_inbox.sending import send_account

from .fakes import FakeKavenegar
from .test_contents import SECRET, Workspace, workspace

__all__ = ["workspace"]


@pytest.fixture
def fake() -> Iterator[FakeKavenegar]:
    found = FakeKavenegar(SECRET)
    yield found
    found.close()


@pytest.fixture
def crm(workspace: Workspace, fake: FakeKavenegar) -> CRM:
    return workspace("kavenegar", ("key", "webhook_secret"), line="10004346", api=fake.url)


def call(crm: CRM, path: str, **fields: str) -> int:
    """Call the webhooks as Kavenegar does; returns the status of the answer."""
    body, answers = urlencode(fields).encode(), list[MutableMapping[str, Any]]()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def answer(message: MutableMapping[str, Any]) -> None:
        answers.append(message)

    app = HookApp(crm)
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    try:
        asyncio.run(app(scope, receive, answer))
    finally:
        app.close()
    return int(answers[0]["status"])


def run(crm: CRM, job: Any) -> str:
    return str(job(JobRun(crm=crm, part="it", stopping=lambda: False)).told)


def test_a_message_is_stored_once_by_its_call_and_by_polls(crm: CRM, fake: FakeKavenegar) -> None:
    name = str(fake.arrive("1", "09121234567", "سلام")["messageid"])
    told = {"messageid": name, "from": "09121234567", "to": "10004346", "message": "سلام"}
    assert [403, 403, 200, 200] == [
        call(crm, path, **told) for path in ("/hooks/it", "/hooks/it/x", f"/hooks/it/{SECRET}", f"/hooks/it/{SECRET}")
    ]
    assert ["", ""] == [run(crm, poll_account), run(crm, poll_account)]
    fake.arrive("2", "989121234567", "کجاست؟")
    assert ["1 new", ""] == [run(crm, poll_account), run(crm, poll_account)]
    said = [(each.body, each.needs_answer) for each in crm.interactions.find(sort="id")]
    assert ([("سلام", True), ("کجاست؟", True)], 1) == (said, crm.customers.count())


def test_a_message_that_left_is_followed_to_its_recipient(crm: CRM, fake: FakeKavenegar) -> None:
    fake.arrive("1", "09121234567", "سلام")
    run(crm, poll_account)
    send(crm, "رسید", customer=crm.customers.find()[0].id)
    assert "1 sent" == run(crm, send_account)
    (sent,) = crm.records(OutboxMessage).find()
    for code, wanted in ((1, "sent"), (5, "sent"), (10, "delivered")):
        fake.statuses[str(sent.provider_id)] = code
        assert 200 == call(crm, f"/hooks/it/{SECRET}", messageid=str(sent.provider_id), status="10")
        assert wanted == crm.records(OutboxMessage).get(sent.id).status


def test_who_writes_eleven_gets_no_more_messages(crm: CRM, fake: FakeKavenegar) -> None:
    fake.arrive("1", "09121234567", "۱۱")
    run(crm, poll_account)
    assert [("service", "withdrawn")] == [(each.purpose, each.status) for each in crm.records(Consent).find()]
    send(crm, "Hello", customer=crm.customers.find()[0].id)
    assert ("1 given up", []) == (run(crm, send_account), fake.texts)
