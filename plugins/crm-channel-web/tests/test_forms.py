"""Web forms: from the page of an allowed site, by a person, once, with the consent that was given."""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode

import pytest

from crm_core import CRM, Consent, Customer, User
from crm_core.cli.main import main
from crm_core.values import format_id
from crm_inbox import MessageTemplate, OutboxMessage

from .conftest import SECRETS, Answer, Client, serving

pytestmark = pytest.mark.database("sqlite")
PAGE = "https://example.org"
FORM = "application/x-www-form-urlencoded"


def token(secret: str, account: str, at: datetime) -> str:
    """What the server gave a page at a time."""
    plain = f"{int(at.timestamp() * 1000)}.{token_hex(8)}"
    return f"{plain}.{hmac.digest(secret.encode(), f'{account}.{plain}'.encode(), 'sha256').hex()}"


def filled(client: Client, *, seconds: float = 30, origin: str = PAGE, kind: str = FORM, **fields: Any) -> Answer:
    given = token(SECRETS["FORM"], "contact", datetime.now(UTC) - timedelta(seconds=seconds))
    body = urlencode({"name": "سارا", "mail": "sara@example.org", "message": "سلام\r\nHi", "token": given, **fields})
    return client("POST", "/hooks/contact", body.encode(), origin=origin, content_type=kind)


def test_what_is_written_waits_in_the_inbox_and_the_page_goes_on(client: Client, crm: CRM) -> None:
    answer = filled(client, budget="۱۲۰۰", consent="2026-11")
    assert (303, "https://example.org/thanks") == (answer.status, answer.headers["location"])
    (said,) = crm.interactions.find()
    assert "سلام\nHi\nbudget: ۱۲۰۰\nconsent: newsletter (2026-11)" == said.body
    assert said.needs_answer
    (customer,) = crm.customers.find()
    assert ("سارا", "form") == (customer.name, customer.source)
    (consent,) = crm.records(Consent).find()
    assert ("newsletter", "granted", "2026-11") == (consent.purpose, consent.status, consent.text_version)
    assert [consent.contact_point_id] == [point.id for point in crm.customers.contact_points(customer.id)]


def test_a_form_sets_nothing_but_its_fields(client: Client, crm: CRM) -> None:
    owner = crm.users.add(User(name="Nina"))
    other = crm.customers.add(Customer(name="Other"))
    given = {"id": "1", "version": "9", "created_tx": "1", "updated_tx": "1", "source": "forged", "tags": "vip"}
    given |= {"owner_id": format_id(owner.id), "customer_id": format_id(other.id), "direction": "out"}
    assert 303 == filled(client, **given).status
    (said,) = crm.interactions.find()
    assert ("in", "message", True) == (said.direction, said.kind, said.needs_answer)
    assert said.customer_id is not None
    made = crm.customers.get(said.customer_id)
    assert (None, "form", (), "سارا") == (made.owner_id, made.source, made.tags, made.name)
    assert other.id != made.id
    assert 1 not in (said.id, made.id, said.created_tx)
    assert other == crm.customers.get(other.id)


def test_a_form_that_is_sent_twice_is_one_message_and_one_consent(client: Client, crm: CRM) -> None:
    given = token(SECRETS["FORM"], "contact", datetime.now(UTC) - timedelta(seconds=9))
    assert [303, 303] == [filled(client, token=given, consent="2026-11").status for _ in range(2)]
    assert (1, 1, 1) == (crm.interactions.count(), crm.customers.count(), crm.records(Consent).count())


def test_a_box_that_is_not_ticked_is_no_consent(client: Client, crm: CRM) -> None:
    filled(client)
    assert (1, 0) == (crm.interactions.count(), crm.records(Consent).count())


def test_nobody_is_guessed_whose_consent_it_is(client: Client, crm: CRM) -> None:
    for name in ("Left", "Right"):
        crm.customers.add(Customer(name=name), email="sara@example.org")
    assert 303 == filled(client, consent="2026-11").status
    assert 0 == crm.records(Consent).count()
    assert "consent: newsletter (2026-11)" in (crm.interactions.find()[0].body or "")


def test_a_machine_is_thanked_and_nothing_is_stored(client: Client, crm: CRM) -> None:
    assert 303 == filled(client, website="https://spam.example").status
    assert 0 == crm.interactions.count() == crm.customers.count()


def test_what_no_page_of_ours_sends_is_refused(client: Client, crm: CRM) -> None:
    tried = [
        filled(client, origin="https://evil.example"),
        filled(client, origin="null"),
        filled(client, seconds=0),
        filled(client, seconds=86_500),
        filled(client, seconds=-60),
        filled(client, token=""),
        filled(client, token=token(SECRETS["FORM"], "other", datetime.now(UTC) - timedelta(seconds=9))),
        filled(client, kind="text/plain"),
        filled(client, mail=""),
        filled(client, message="", mail="a\nb@example.org"),
        client("POST", "/hooks/contact", b"message=%ff&token=1", origin=PAGE, content_type=FORM),
        client("POST", "/hooks/contact", b"a=1&" * 101, origin=PAGE, content_type=FORM),
        client("GET", "/hooks/contact", origin="https://evil.example"),
    ]
    assert [403] * len(tried) == [each.status for each in tried]
    assert 0 == crm.interactions.count() == crm.customers.count()


def test_a_page_gets_a_token_that_its_form_can_be_sent_with(client: Client, crm: CRM, place: Path) -> None:
    given = client("GET", "/hooks/contact", origin=PAGE)
    assert (200, PAGE) == (given.status, given.headers["access-control-allow-origin"])
    assert 403 == filled(client, token=given.text).status  # sooner than a person can write
    time.sleep(1.01)
    assert 303 == filled(client, token=given.text).status


def test_the_snippet_has_every_field_and_escapes_what_the_settings_say(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main(["-w", str(place), "hooks", "form", "contact", "--url", "https://crm.example.org/"])
    html = capsys.readouterr().out
    assert 'action="https://crm.example.org/hooks/contact"' in html
    for part in ("ایمیل شما", 'name="mail"', 'name="budget"', 'name="website"', 'value="2026-11"', 'name="token"'):
        assert part in html
    assert "News &lt;once&gt; a month" in html
    assert SECRETS["FORM"] not in html


def test_commands_say_what_is_served_and_what_is_wrong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["-w", str(place), "hooks", "list"])
    told = capsys.readouterr().out
    assert "/hooks/events" in told
    assert "NOT_THERE" in told
    assert 2 == main(["-w", str(place), "hooks", "form", "shop", "--url", "https://crm.example.org"])
    assert "is no form" in capsys.readouterr().err
    assert 2 == main(["-w", str(place), "hooks", "form", "contact", "--url", "crm.example.org"])


def test_a_server_without_a_webhook_to_serve_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "crm.toml").write_text('[storage]\nurl = "sqlite:///crm.db"\n', "utf-8")
    assert 2 == main(["-w", str(place), "hooks", "serve", "--port", "0"])
    assert "no account has a webhook" in capsys.readouterr().err


def test_a_form_is_answered_once_a_day_and_stored_even_if_it_cannot_be(place: Path) -> None:
    text = (place / "crm.toml").read_text("utf-8")
    text = text.replace("least_seconds = 1\n", 'least_seconds = 1\nanswer = "arrived"\n')
    text += (
        '[channels.post]\ntype = "email"\naddress = "desk@example.org"\nsmtp_host = "127.0.0.1"\nsmtp_login = false\n'
    )
    (place / "crm.toml").write_text(text, "utf-8")
    with CRM.open(place) as crm, serving(crm) as client:
        assert 303 == filled(client).status
        assert (1, 0) == (crm.interactions.count(), crm.records(OutboxMessage).count()), "there is no template yet"
        thanks = "Thanks, {{ customer.name|default('') }}"
        crm.records(MessageTemplate).add(MessageTemplate(name="arrived", body=thanks))
        given = token(SECRETS["FORM"], "contact", datetime.now(UTC) - timedelta(seconds=9))
        assert [303, 303, 303] == [filled(client, **more).status for more in ({"token": given}, {"token": given}, {})]
        (answer,) = crm.records(OutboxMessage).find()
        assert ("sara@example.org", True, "post") == (answer.address, answer.automatic, answer.account)
        (said,) = crm.interactions.find('direction = "out"')
        assert "Thanks, سارا" == said.body
        assert 3 == crm.interactions.count("needs_answer = true"), "an automatic answer is none"
