"""Reading a real Dovecot: folders, numbering anew, what is gone, encryption, logins."""

from __future__ import annotations

import base64
import hmac
import imaplib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import time

import pytest
from imap_tools.imap_utf7 import utf7_encode

from crm_channel_email import channel as channel_module
from crm_core.errors import CredentialsWrong, TryLater
from crm_core.extend import IncomingMessage, Received
from crm_core.settings import Secret
from tests.mail import PASSWORD, Dovecot, free_port

from .conftest import TOKEN_KEY, Open


def mail(number: int, *, text: str = "Hello", more: str = "") -> bytes:
    head = f"From: s{number}@example.org\r\nMessage-ID: <{number}@example.org>\r\nSubject: {number}\r\n{more}"
    return f"{head}\r\n{text}\r\n".encode()


@contextmanager
def logged_in(imap: Dovecot, user: str) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", imap.port, 30) as client:
        client.login(user, PASSWORD)
        yield client


def flags(imap: Dovecot, user: str, folder: str = "INBOX") -> list[bytes]:
    with logged_in(imap, user) as client:
        client.select(folder, readonly=True)
        return [each for each in client.fetch("1:*", "(FLAGS)")[1] if isinstance(each, bytes)]


def ids(received: Received) -> list[str]:
    return [each.external_id for each in received.messages]


def test_folders_of_any_name_are_read_in_turn_and_a_moved_mail_keeps_its_id(
    imap: Dovecot, user: str, account: Open
) -> None:
    wire = utf7_encode("فاکتور").decode("ascii")
    with logged_in(imap, user) as client:
        client.create(wire)
        for name, number in (("INBOX", 1), ("INBOX", 2), (wire, 3)):
            client.append(name, "", imaplib.Time2Internaldate(time()), mail(number))
    desk = account(imap_port=imap.port, folders=("INBOX", "فاکتور"))
    first = desk.poll("")
    assert ["<1@example.org>", "<2@example.org>", "<3@example.org>"] == ids(first)
    with logged_in(imap, user) as client:
        client.select("INBOX")
        client.uid("MOVE", "1", wire)
    assert ["<1@example.org>"] == ids(desk.poll(first.cursor))


def test_a_folder_that_is_gone_is_told_and_keeps_nothing_back(imap: Dovecot, user: str, account: Open) -> None:
    imap.deliver(user, mail(1))
    desk = account(imap_port=imap.port, folders=("Gone", "INBOX"))
    found = desk.poll("")
    assert (["<1@example.org>"], False) == (ids(found), found.more)
    assert "has no folder Gone; folders there: " in found.trouble
    assert "INBOX" in found.trouble
    for call in (desk.check, lambda: account(imap_port=imap.port, folders=("Gone",)).poll("")):
        with pytest.raises(TryLater, match=r"has no folder Gone; .* INBOX"):
            call()
    with logged_in(imap, user) as client:
        client.create("Gone")
    assert "" == desk.poll(found.cursor).trouble


def test_nothing_is_marked_and_nothing_is_gone(imap: Dovecot, user: str, account: Open) -> None:
    for number in range(3):
        imap.deliver(user, mail(number))
    desk = account(imap_port=imap.port)
    first = desk.poll("")
    assert [] == ids(desk.poll(first.cursor))
    assert 3 == len(kept := flags(imap, user))
    assert [] == [each for each in kept if b"Seen" in each or b"Deleted" in each]


@pytest.mark.parametrize(("afterwards", "left", "seen"), [("mark_read", 4, 2), ("delete", 2, 0)])
def test_what_was_taken_in_is_settled_only_when_the_cursor_was_stored(
    imap: Dovecot, user: str, account: Open, afterwards: str, left: int, seen: int
) -> None:
    for number in range(2):
        imap.deliver(user, mail(number))
    desk = account(imap_port=imap.port, afterwards=afterwards, max_bytes=10_000)
    first = desk.poll("")
    assert 2 == len(desk.poll("").messages), "the cursor was not stored: all of it is still there"
    imap.deliver(user, mail(7, text="x" * 20_000))
    second = desk.poll(first.cursor)
    imap.deliver(user, mail(8))
    assert ["<7@example.org>"] == ids(second)
    desk.poll(second.cursor)
    found = flags(imap, user)
    assert (left, seen) == (len(found), sum(b"Seen" in each for each in found))


def test_a_folder_that_is_numbered_anew_is_read_again_under_the_same_ids(
    imap: Dovecot, user: str, account: Open
) -> None:
    def fill() -> None:
        for number in range(3):
            imap.deliver(user, mail(number))
        imap.deliver(user, b"From: a@example.org\r\nSubject: no id\r\n\r\nx")

    fill()
    with account(imap_port=imap.port) as desk:
        first = desk.poll("")
    shutil.rmtree(imap.inbox(user))
    numbers = imap.inbox(user) / "dovecot-uidlist"
    numbers.write_text(f"3 V1234567 N100 G{'5f' * 16}\n", "ascii")
    numbers.chmod(0o666)
    fill()
    again = account(imap_port=imap.port).poll(first.cursor)
    assert 4 == len(ids(first))
    assert ids(first) == ids(again)
    assert [1234567, 103] == json.loads(again.cursor)["INBOX"]


@pytest.mark.parametrize("afterwards", ["leave", "delete"])
def test_a_folder_that_was_restored_and_gives_numbers_again_is_read_again(
    imap: Dovecot, user: str, account: Open, afterwards: str
) -> None:
    for number in range(5):
        imap.deliver(user, mail(number))
    with account(imap_port=imap.port) as desk:
        cursor = desk.poll("").cursor
    numbers = imap.inbox(user) / "dovecot-uidlist"
    head = re.sub(r" N\d+", " N2", numbers.read_text("ascii").partition("\n")[0])
    shutil.rmtree(imap.inbox(user))
    imap.inbox(user)
    numbers.write_text(f"{head}\n", "ascii")
    numbers.chmod(0o666)
    imap.deliver(user, mail(7))
    with account(imap_port=imap.port, afterwards=afterwards) as desk:
        restored = desk.poll(cursor)
        assert ["<7@example.org>"] == ids(restored)
        assert json.loads(cursor)["INBOX"][0] == json.loads(restored.cursor)["INBOX"][0], "the same validity"
        assert [] == ids(desk.poll(restored.cursor))
        assert desk.listen(cursor, 5.0, lambda: False)


def test_gaps_and_mails_that_are_gone_stop_nothing(imap: Dovecot, user: str, account: Open) -> None:
    with logged_in(imap, user) as client:
        for number in range(40):
            client.append("INBOX", "", imaplib.Time2Internaldate(time()), mail(number))
        client.select("INBOX")
        client.store("5:38", "+FLAGS", r"(\Deleted)")
        client.expunge()
    found = account(imap_port=imap.port).poll("")
    assert [f"<{number}@example.org>" for number in (0, 1, 2, 3, 38, 39)] == ids(found)
    assert not found.more
    assert [] == ids(account(imap_port=imap.port).poll(found.cursor))


def test_a_poll_is_bounded_by_count_and_by_bytes(
    imap: Dovecot, user: str, account: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_PAGE", 4)
    monkeypatch.setattr(channel_module, "_OCTETS", 5_000)
    for number in range(7):
        imap.deliver(user, mail(number, text="x" * (9_000 if number in (1, 5) else 10)))
    desk, cursor, pages = account(imap_port=imap.port), "", []
    while True:
        received = desk.poll(cursor)
        pages.append(len(received.messages))
        assert cursor != received.cursor or not received.more
        cursor = received.cursor
        if not received.more:
            break
    assert 7 == sum(pages)
    assert max(pages) <= 4
    assert len(pages) >= 4, "a large mail ends a page"


def test_of_a_mail_that_is_too_large_the_head_comes_in(imap: Dovecot, user: str, account: Open) -> None:
    imap.deliver(user, mail(1, text="x" * 600_000))
    imap.deliver(user, mail(2))
    large, small = account(imap_port=imap.port, max_bytes=300_000).poll("").messages
    assert ("<1@example.org>", "1") == (large.external_id, large.subject)
    assert "more than max_bytes" in large.text
    assert "Hello" == small.text


def test_the_time_of_arrival_stands_in_for_the_date(imap: Dovecot, user: str, account: Open) -> None:
    with logged_in(imap, user) as client:
        client.append("INBOX", "", '"22-Nov-2026 09:30:00 +0330"', mail(1, more="Date: nonsense\r\n"))
    (found,) = account(imap_port=imap.port).poll("").messages
    assert found.at is not None
    assert "2026-11-22T06:00:00+00:00" == found.at.isoformat()


def test_what_is_older_than_since_stays_unread(imap: Dovecot, user: str, account: Open) -> None:
    with logged_in(imap, user) as client:
        client.append("INBOX", "", '"22-Nov-2020 09:30:00 +0000"', mail(1))
        client.append("INBOX", "", '"22-Nov-2025 09:30:00 +0000"', mail(2))
    assert ["<2@example.org>"] == ids(account(imap_port=imap.port, since="2025-01-31").poll(""))


def test_a_cursor_of_another_time_is_a_beginning(imap: Dovecot, user: str, account: Open) -> None:
    imap.deliver(user, mail(1))
    for cursor in ("nonsense", "[]", '{"INBOX": 5}', '{"INBOX": ["a", null]}', "null"):
        assert ["<1@example.org>"] == ids(account(imap_port=imap.port).poll(cursor))


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_encryption_proves_the_server(
    imap: Dovecot, user: str, account: Open, certificate: tuple[Path, Path], security: str
) -> None:
    imap.deliver(user, mail(1))
    port = imap.tls_port if security == "tls" else imap.port
    trusted = account(imap_port=port, imap_security=security, ca_file=str(certificate[0]))
    assert ["<1@example.org>"] == ids(trusted.poll(""))
    assert "reads INBOX (1 mails)" in trusted.check()
    with pytest.raises(TryLater, match="certificate is not to be trusted"):
        account(imap_port=port, imap_security=security).poll("")
    with pytest.raises(TryLater, match="ca_file"):
        account(imap_port=port, imap_security=security, ca_file="nowhere.pem").poll("")


def token(user: str, key: bytes) -> str:
    """A token (JWT, HS256) as an authority would sign it."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    claims = {"sub": user, "iss": "test", "exp": int(time()) + 600, "iat": int(time()) - 5}
    head = {"alg": "HS256", "typ": "JWT"}
    signed = ".".join(part(json.dumps(each).encode()) for each in (head, claims))
    return f"{signed}.{part(hmac.digest(key, signed.encode(), 'sha256'))}"


def test_a_token_of_oauth2_logs_in(imap: Dovecot, user: str, account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    imap.deliver(user, mail(1))
    monkeypatch.setenv("MAIL_TOKEN", token(user, TOKEN_KEY))
    right = account(imap_port=imap.port, password=None, token=Secret(env="MAIL_TOKEN"))
    assert ["<1@example.org>"] == ids(right.poll("")), imap.log()[-2000:]
    monkeypatch.setenv("MAIL_TOKEN", token(user, b"another key"))
    with pytest.raises(CredentialsWrong):
        account(imap_port=imap.port, password=None, token=Secret(env="MAIL_TOKEN")).poll("")


def test_a_wrong_password_is_told_from_a_server_that_is_away(
    imap: Dovecot, user: str, account: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = account(imap_port=imap.port)
    with pytest.raises(TryLater, match="cannot be read"):
        account(imap_port=free_port()).poll("")
    for wrong in ("wrong", "رمز", "a\r\nA1 LOGOUT", '"quoted\\'):
        monkeypatch.setenv("MAIL_PASSWORD", wrong)
        with pytest.raises(CredentialsWrong):
            desk.check()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"* OK hi\r\n", b"* BYE busy\r\n", b"\x00" * 99])
def test_what_is_no_imap_server_is_told_within_the_timeout(account: Open, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.sendall(said)
            if said.startswith(b"* OK"):
                connection.recv(100)  # and never a word more
                answered.append(connection)
            else:
                connection.close()

        answered: list[socket.socket] = []
        Thread(target=answer, daemon=True).start()
        with pytest.raises(TryLater):
            account(imap_port=listener.getsockname()[1], timeout=0.5).poll("")
        for each in answered:
            each.close()


def test_an_account_without_a_mailbox_reads_nothing(account: Open) -> None:
    assert ("c", []) == ((got := account(smtp_host="127.0.0.1").poll("c")).cursor, list[IncomingMessage](got.messages))
