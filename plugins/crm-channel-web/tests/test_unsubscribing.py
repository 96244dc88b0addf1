from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from crm_core import CRM, Consent, ContactPoint, Customer
from crm_inbox import UnsubscribeSettings, link_of

from .conftest import Client

pytestmark = pytest.mark.database("sqlite")
FORM = {"content_type": "application/x-www-form-urlencoded"}
BODY = b"List-Unsubscribe=One-Click"


@pytest.fixture
def point(crm: CRM) -> ContactPoint:
    sara = crm.customers.add(Customer(name="سارا"), email="sara@example.org")
    (found,) = crm.customers.contact_points(sara.id)
    return found


@pytest.fixture
def link(crm: CRM, point: ContactPoint) -> str:
    """The path of a link that leads out of the news."""
    with crm.channels.open("leave") as channel:
        settings: UnsubscribeSettings = channel.settings
    parts = urlsplit(link_of(settings, point.id, "news"))
    assert ("https", "/hooks/leave") == (parts.scheme, parts.path)
    return f"{parts.path}?{parts.query}"


def withdrawn(crm: CRM) -> list[tuple[str, str, str | None]]:
    return [(each.purpose, each.status, each.source) for each in crm.records(Consent).find()]


def test_a_look_shows_a_page_and_changes_nothing(crm: CRM, client: Client, link: str) -> None:
    page = client("GET", link)
    assert (200, "text/html; charset=utf-8") == (page.status, page.headers["content-type"])
    assert "Keine &lt;Post&gt; mehr?" in page.text
    assert 'method="post"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert ("no-referrer", "no-store") == (page.headers["referrer-policy"], page.headers["cache-control"])
    assert [] == withdrawn(crm)


def test_one_click_takes_the_consent_back_once_without_a_redirect(crm: CRM, client: Client, link: str) -> None:
    head = crm.ledger.history.head()
    answers = [client("POST", link, BODY, **FORM) for _ in range(3)]
    assert [200, 200, 200] == [each.status for each in answers]
    assert "You get no more of these messages." in answers[0].text
    assert [("news", "withdrawn", "unsubscribe leave")] == withdrawn(crm)
    assert 1 == crm.ledger.history.head() - head


def test_one_click_may_come_as_a_form_in_parts(crm: CRM, client: Client, link: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
    assert 200 == client("POST", link, body, content_type="multipart/form-data; boundary=x").status
    assert 1 == len(withdrawn(crm))


def test_who_consents_again_and_clicks_again_is_heeded_again(
    crm: CRM, client: Client, link: str, point: ContactPoint
) -> None:
    client("POST", link, BODY, **FORM)
    now = crm.clock.now()
    crm.records(Consent).add(Consent(contact_point_id=point.id, purpose="news", status="granted", at=now))
    client("POST", link, BODY, **FORM)
    assert ["withdrawn", "granted", "withdrawn"] == [each[1] for each in sorted(withdrawn(crm), key=len)]


def test_what_is_forged_or_no_one_click_changes_nothing(crm: CRM, client: Client, link: str) -> None:
    path, _, token = link.partition("?u=")
    for wrong in (path, f"{path}?u=", f"{path}?u={token[:-1]}0x", f"{path}?u=x{token}", f"{path}?u={token}&u=x"):
        assert (403, 403) == (client("GET", wrong).status, client("POST", wrong, BODY, **FORM).status)
    for body in (b"", b"List-Unsubscribe=Two-Clicks", b"x=" + BODY, b"\xff\xfe", BODY + b"s"):
        assert 403 == client("POST", link, body, **FORM).status
    assert 405 == client("PUT", link, BODY).status
    assert [] == withdrawn(crm)


def test_an_address_that_is_gone_is_told_the_same(crm: CRM, client: Client, link: str, point: ContactPoint) -> None:
    crm.customers.delete(point.customer_id)
    assert 200 == client("POST", link, BODY, **FORM).status
    assert [] == withdrawn(crm)
