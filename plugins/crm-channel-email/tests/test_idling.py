"""Listening to a real Dovecot by IDLE: at once, anew in time, over a network that fails; and `crm run` with it."""

from __future__ import annotations

import imaplib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from crm_channel_email import idling
from crm_core import CRM
from crm_core.errors import TryLater
from crm_core.extend import Channel
from crm_core.services.jobs import JobStanding
from crm_inbox import InboxMessage
from tests.mail import PASSWORD, Dovecot, free_port

from .conftest import Open
from .relay import relay
from .test_mailbox import mail

PROMPT = 2.0
"""Seconds within which a new mail is to be seen."""


def never() -> bool:
    return False


def meanwhile(act: Callable[[], object], after: float = 0.5) -> Thread:
    """Do something a little later, in a thread."""

    def wait_and_act() -> None:
        time.sleep(after)
        act()

    thread = Thread(target=wait_and_act)
    thread.start()
    return thread


def until(true: Callable[[], object], seconds: float = 20.0) -> float:
    """Wait until something is true; returns the seconds."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, "it never came about"
        time.sleep(0.02)
    return time.monotonic() - begun


def test_idle_is_asked_for_anew_before_a_server_gives_up(
    imap: Dovecot, user: str, account: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert idling.LONGEST < 29 * 60, "RFC 2177: a server may hang up after 30 minutes"
    monkeypatch.setattr(idling, "LONGEST", 0.6)
    with relay(imap.port) as between:
        channel = account(imap_port=between.port)
        cursor = channel.poll("").cursor
        assert not channel.listen(cursor, 2.0, never)
        assert 3 <= between.said.count(b" IDLE\r\n") == between.said.count(b"DONE\r\n")
        assert 1 == between.connections
        imap.deliver(user, mail(1))
        assert channel.listen(cursor, 5.0, never)


def test_every_folder_is_heard_and_what_is_no_new_mail_is_not(imap: Dovecot, user: str, account: Open) -> None:
    imap.deliver(user, mail(1))
    with imaplib.IMAP4("127.0.0.1", imap.port, 30) as client:
        client.login(user, PASSWORD)
        client.create("Orders")
        channel = account(imap_port=imap.port, folders=("INBOX", "Orders"))
        cursor = channel.poll("").cursor
        client.select("INBOX")
        marking = meanwhile(lambda: client.store("1", "+FLAGS", r"(\Seen)"))
        assert not channel.listen(cursor, 1.5, never), "a mail that is marked is no new one"
        marking.join()
        bringing = meanwhile(lambda: client.append("Orders", "", imaplib.Time2Internaldate(time.time()), mail(2)))
        begun = time.monotonic()
        assert channel.listen(cursor, 10.0, never)
        assert time.monotonic() - begun < 0.5 + PROMPT
        bringing.join()
    assert ["<2@example.org>"] == [each.external_id for each in channel.poll(cursor).messages]


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_it_is_heard_through_encryption(
    imap: Dovecot, user: str, account: Open, certificate: tuple[Path, Path], security: str
) -> None:
    port = imap.tls_port if security == "tls" else imap.port
    channel = account(imap_port=port, imap_security=security, ca_file=str(certificate[0]))
    cursor = channel.poll("").cursor
    bringing = meanwhile(lambda: imap.deliver(user, mail(1)))
    begun = time.monotonic()
    assert channel.listen(cursor, 10.0, never)
    assert time.monotonic() - begun < 0.5 + PROMPT
    bringing.join()


def test_without_idle_it_waits_for_the_next_poll(imap: Dovecot, user: str, account: Open) -> None:
    with relay(imap.port) as between:
        channel = account(imap_port=between.port, idle=False)
        cursor = channel.poll("").cursor
        imap.deliver(user, mail(1))
        assert not channel.listen(cursor, 0.5, never)
        assert b" IDLE" not in between.said


def test_a_server_without_idle_is_not_asked_for_it(
    imap: Dovecot, user: str, account: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imaplib.IMAP4, "capability", lambda self: ("OK", [b"IMAP4rev1 UIDPLUS"]))
    with relay(imap.port) as between:
        channel = account(imap_port=between.port)
        cursor = channel.poll("").cursor
        begun = time.monotonic()
        assert not channel.listen(cursor, 1.0, never)
        assert time.monotonic() - begun > 0.9
        assert b" IDLE" not in between.said


@pytest.mark.parametrize("fault", ["hang_up", "fall_silent"])
def test_a_connection_that_breaks_off_is_told_and_the_next_one_is_new(
    imap: Dovecot, user: str, account: Open, fault: str
) -> None:
    with relay(imap.port) as between:
        channel: Channel = account(imap_port=between.port, timeout=1)
        cursor = channel.poll("").cursor

        def break_off() -> None:
            between.silent = fault == "fall_silent"
            if not between.silent:
                between.hang_up()

        breaking = meanwhile(break_off)
        begun = time.monotonic()
        with pytest.raises(TryLater):  # of a silent one it shows when IDLE is to be renewed
            channel.listen(cursor, 1.0 if fault == "fall_silent" else 30.0, never)
        assert time.monotonic() - begun < 5
        breaking.join()
        between.silent = False
        imap.deliver(user, mail(1))
        assert channel.listen(cursor, 5.0, never)
        assert 2 == between.connections


# `crm run`


@pytest.fixture
def place(tmp_path: Path, imap: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose account `desk` is a mailbox of the Dovecot, looked at once an hour but for IDLE."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    (tmp_path / "crm.toml").write_text(
        '[crm]\ncurrency = "EUR"\n[storage]\nurl = "sqlite:///crm.db"\n' + declared("desk", user, imap.port), "utf-8"
    )
    return tmp_path


def declared(name: str, user: str, port: int, every: int = 3600) -> str:
    text = f'[channels.{name}]\ntype = "email"\naddress = "{user}"\npassword = {{env = "MAIL_PASSWORD"}}\n'
    return text + f'every = {every}\nimap_host = "127.0.0.1"\nimap_port = {port}\nimap_security = "plain"\n'


@contextmanager
def running(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `crm run` until the end of the `with`, where SIGTERM ends it in time if it is there still."""
    with (place / "log").open("wb") as log:
        command = [sys.executable, "-m", "crm_core", "-w", str(place), "run"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
        try:
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert 0 == process.wait(20), (place / "log").read_text("utf-8")
        finally:
            process.kill()
            process.wait()


def texts(crm: CRM) -> list[str]:
    return [each.subject or "" for each in crm.interactions.find(sort="subject", limit=None)]


@pytest.mark.database("sqlite")
def test_a_new_mail_is_in_the_timeline_within_two_seconds_whatever_other_accounts_do(
    place: Path, imap: Dovecot, user: str
) -> None:
    imap.deliver(user, mail(0))
    with relay(imap.port) as hanging, relay(imap.port) as broken:
        hanging.silent = True
        with (place / "crm.toml").open("a", encoding="utf-8") as settings:
            settings.write(declared("hanging", "other@example.org", hanging.port))
            settings.write(declared("dead", "dead@example.org", free_port()))
            settings.write(declared("broken", user, broken.port))
        with CRM.open(place) as crm, running(place):
            until(lambda: texts(crm).count("0") == 2)
            time.sleep(1)
            took = []
            for number in range(1, 6):
                imap.deliver(user, mail(number))
                took.append(until(lambda n=number: texts(crm).count(str(n)) == 2))  # type: ignore[misc]
            assert max(took) < PROMPT, took
            broken.hang_up()
            until(lambda: broken.connections > 1)
            imap.deliver(user, mail(6))
            until(lambda: texts(crm).count("6") == 2)
        assert hanging.connections
    with CRM.open(place) as crm:
        standing = {each.part: each for each in crm.jobs.standing() if each.job == "poll"}
        assert "refused" in standing["dead"].error
        assert not any(each.running for each in standing.values()), "SIGTERM gives back what was held"
        assert [str(n) for n in range(7) for _ in range(2)] == texts(crm)


@pytest.mark.database("sqlite")
def test_a_folder_that_is_gone_is_shown_and_the_others_are_listened_to(place: Path, imap: Dovecot, user: str) -> None:
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('folders = ["Gone", "INBOX"]\n')
    imap.deliver(user, mail(0))
    with CRM.open(place) as crm, running(place):

        def standing() -> JobStanding:
            return next(each for each in crm.jobs.standing() if each.job == "poll")

        until(lambda: texts(crm) == ["0"] and standing().error)
        assert "has no folder Gone" in standing().error
        assert (True, 0) == (standing().running, standing().attempts)
        time.sleep(1)
        imap.deliver(user, mail(1))
        assert until(lambda: texts(crm) == ["0", "1"]) < PROMPT
        assert 1 == (place / "log").read_text("utf-8").count("has no folder Gone"), "told once"


@pytest.mark.database("sqlite")
def test_killed_while_it_listens_and_receives_it_loses_and_doubles_nothing(
    place: Path, imap: Dovecot, user: str
) -> None:
    with CRM.open(place) as crm:
        for number in range(120):
            if number % 40 == 0 and number:
                with running(place) as process:
                    until(lambda least=number - 39: len(texts(crm)) >= least)  # type: ignore[misc]
                    kill_all(process)
            imap.deliver(user, mail(number))
        with running(place):
            until(lambda: len(texts(crm)) >= 120)
        assert 120 == crm.interactions.count() == crm.records(InboxMessage).count()


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill `crm run` and its workers, none of which can do anything about it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
    assert children, "it has workers"
    for each in (process.pid, *map(int, children)):
        os.kill(each, signal.SIGKILL)
    process.wait()
