"""Mails of a Dovecot mailbox to the timeline, beside a bare imap-tools loop that only fetches and parses them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from tests.benchmarks import Row, at_most
from tests.mail import MISSING, PASSWORD, Dovecot, dovecot

SIZES = (300,)
FULL_SIZES = (300, 10_000)
MEGABYTES = 300
USER = "desk@example.org"
_SETTINGS = """
[crm]
currency = "EUR"
[storage]
url = "sqlite:///crm.db"
[channels.desk]
type = "email"
address = "{user}"
password = {{env = "BENCH_PASSWORD"}}
imap_host = "127.0.0.1"
imap_port = {port}
imap_security = "plain"
"""


def run(full: bool) -> list[Row]:
    """Measure each size, either side in a process of its own, whose peak memory is its own too."""
    if MISSING:
        return [Row(name=MISSING, ours=0.0, unit="mails/s")]
    rows: list[Row] = []
    for size in FULL_SIZES if full else SIZES:
        with dovecot() as server, tempfile.TemporaryDirectory() as folder:
            _fill(server, size)
            _measured("raw", server, Path(folder), size)  # the server makes its index
            raw, raw_peak = _measured("raw", server, Path(folder), size)
            ours, peak = _measured("ours", server, Path(folder), size)
            again, _ = _measured("again", server, Path(folder), size)
            lost, doubled = _killed(server, Path(folder) / "killed", size)
        rows += [
            Row(name=f"{size:,} mails to the timeline", ours=ours, limit=raw, unit="mails/s"),
            Row(name="  cursor lost: all again, none stored", ours=again, unit="mails/s"),
            at_most("  peak memory", peak, MEGABYTES, unit="MB"),
            Row(name="  peak memory of the bare loop", ours=raw_peak, unit="MB"),
            at_most("  lost over a kill -9 halfway, and another look", lost, 0, unit="mails"),
            at_most("  doubled over it", doubled, 0, unit="mails"),
        ]
    return rows


def _killed(server: Dovecot, folder: Path, size: int) -> tuple[int, int]:
    """Kill a poll when half of the mails are stored, and poll again; returns how many are missing, and twice there."""
    from crm_core import CRM
    from crm_inbox import InboxMessage

    folder.mkdir()
    _declare(folder, server.port)
    with CRM.open(folder) as crm:
        poll = subprocess.Popen(**_command("ours", server, folder, size), stderr=subprocess.DEVNULL)
        while poll.poll() is None and crm.records(InboxMessage).count() < size // 2:
            sleep(0.01)
        poll.kill()
        poll.wait()
        assert crm.records(InboxMessage).count() < size, "all were stored before the kill"
    _measured("ours", server, folder, size)
    with CRM.open(folder) as crm:
        names = [each.reference for each in crm.records(InboxMessage).iterate()]
        assert crm.interactions.count() == len(names), "each is an interaction"
    return size - len(set(names)), len(names) - len(set(names))


def _command(side: str, server: Dovecot, folder: Path, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_mail", side, str(server.port), str(folder), str(size)]
    return {"args": command, "env": {**os.environ, "BENCH_PASSWORD": PASSWORD}}


def _declare(folder: Path, port: int) -> None:
    (folder / "crm.toml").write_text(_SETTINGS.format(user=USER, port=port), "utf-8")


def _measured(side: str, server: Dovecot, folder: Path, size: int) -> tuple[float, float]:
    told = subprocess.run(**_command(side, server, folder, size), capture_output=True, text=True, check=True)
    seconds, peak = map(float, told.stdout.split())
    return size / seconds, peak


def _fill(server: Dovecot, size: int) -> None:
    """Write mails as customers do: two parts, three scripts, one in five with a file, one in two an answer."""
    inbox = server.inbox(USER)
    texts = ("Where is my order 123?\n", "سلام، سفارش ۱۲۳ کجاست؟\nبا احترام\n", "Բարեւ, որտե՞ղ է իմ պատվերը\n")
    for number in range(size):
        mail = EmailMessage(policy=SMTP)
        mail["Message-ID"] = f"<{number}@bench.example.org>"
        mail["From"] = f"Sara <s{number % (size // 3)}@example.org>"
        mail["To"] = USER
        mail["Date"] = f"{1 + number % 28} Jan 2026 12:{number % 60:02}:00 +0330"
        mail["Subject"] = f"درخواست {number}"
        if number % 2:
            mail["In-Reply-To"] = mail["References"] = f"<{number - 1}@bench.example.org>"
        text = texts[number % 3] * 20
        mail.set_content(text)
        mail.add_alternative(f"<p>{text}</p>", subtype="html")
        if number % 5 == 0:
            mail.add_attachment(b"%PDF" + number.to_bytes(4, "big") * 5_000, maintype="application", subtype="pdf")
        name = f"{1_700_000_000 + number}.M{number:06}P1.test"
        (inbox / "new" / name).write_bytes(bytes(mail))
        (inbox / "new" / name).chmod(0o666)


def ours(port: int, folder: Path, size: int, *, again: bool) -> float:
    """Poll as `crm run` does; returns the seconds."""
    from crm_core import CRM
    from crm_core.extend import JobRun
    from crm_inbox import InboxMessage, InboxState
    from crm_inbox.polling import poll_account

    _declare(folder, port)
    with CRM.open(folder) as crm:
        if again:
            state = crm.records(InboxState).find()[0]
            crm.records(InboxState).edit(state.evolve(cursor=""))
        started = perf_counter()
        poll_account(JobRun(crm=crm, part="desk", stopping=lambda: False))
        seconds = perf_counter() - started
        assert size == crm.records(InboxMessage).count()
    return seconds


def raw(port: int, size: int) -> float:
    """Fetch and parse, in bulks as large as our pages; returns the seconds."""
    from imap_tools import MailBoxUnencrypted

    started = perf_counter()
    with MailBoxUnencrypted("127.0.0.1", port).login(USER, PASSWORD) as box:
        found = 0
        for mail in box.fetch(mark_seen=False, bulk=100):
            _ = (mail.from_values, mail.subject, mail.date, mail.text, mail.html, mail.attachments)
            found += 1
    assert size == found
    return perf_counter() - started


if __name__ == "__main__":
    side, port, folder, size = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    seconds = raw(port, size) if side == "raw" else ours(port, folder, size, again=side == "again")
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
