"""The outbox at work: a template to many is queued, then two workers send it, one of which is killed on the way.

What leaves goes to files, a line for each message, so that what is lost or doubled is counted there.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time, sleep
from unittest.mock import patch

import pytest

from crm_core import CRM, Consent, ContactPoint, Customer
from crm_core.extend import JobRun
from crm_core.settings import write_settings
from crm_inbox import Mailing, MessageTemplate, OutboxMessage, send_to_many
from crm_inbox.sending import send_account
from tests.benchmarks import Row, at_least, at_most
from tests.databases import drop_all, new_url

SIZE, FULL_SIZE = 1_000, 10_000
ACCOUNTS = ("first", "second")
_GROWTH = 40
"""Megabytes that ten times the messages may take more."""
_PATIENCE = 900
_LEAST = 300
"""Messages that one worker sends in a second of its own."""
_CHANNEL = """
import os
import attrs
from crm_core import hookimpl
from crm_core.extend import Channel, ChannelType, Receipt

@attrs.frozen(kw_only=True)
class Settings:
    place: str

class Lines(Channel):
    def __init__(self, account):
        self.file = os.open(account.settings.place, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def check(self):
        return "well"

    def send(self, message):
        os.write(self.file, f"{message.message_id} {message.recipient.value}\\n".encode())
        return Receipt(provider_id=message.message_id)

    def close(self):
        os.close(self.file)

@hookimpl
def register_channels():
    return [
        ChannelType(name="lines", label="Lines", address_kind="email", settings=Settings, open=Lines,
            capabilities=frozenset({"send"})),
    ]
"""

_SETTINGS = """
[plugins]
paths = ["./lines.py"]
[channels.leave]
type = "unsubscribe"
secret = {env = "BENCH_SECRET"}
url = "https://crm.example.org/hooks/leave"
"""
_TEXT = "Dear {{ customer.name }},\n\nthis is what there is in November.\n\n{{ unsubscribe_url }}\n"


def run(full: bool) -> list[Row]:
    """Queue and send by PostgreSQL: 1,000 messages, in the long form 10,000."""
    size = FULL_SIZE if full else SIZE
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"BENCH_SECRET": "a secret of the bench"}):
        place = Path(folder)
        try:
            url = new_url("postgresql", place)
        except pytest.skip.Exception as reason:
            return [Row(name=str(reason), ours=0.0, unit="messages/s")]
        try:
            return list(_measured(place, url, size))
        finally:
            drop_all()


def _measured(place: Path, url: str, size: int) -> Iterator[Row]:
    write_settings(place, storage_url=url, currency="EUR")
    (place / "lines.py").write_text(_CHANNEL, "utf-8")
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write(_SETTINGS)
        for name in ACCOUNTS:
            settings.write(f'[channels.{name}]\ntype = "lines"\nplace = "{place / name}"\n')
    _fill(place, size)
    _, _, little = _queued(place, size // 10, "few")
    seconds, worked, peak = _queued(place, size, "all")
    wanted = size + size // 10
    yield at_least(f"{size:,} messages queued", size / seconds, 1_000, unit="messages/s")
    yield Row(name="  by the seconds of our own process", ours=size / worked, unit="messages/s")
    yield at_most("  memory beyond that of a tenth", peak - little, _GROWTH, unit="MB")
    seconds, lines = _sent(place, wanted)
    with CRM.open(place) as crm:
        ids = {each.message_id for each in crm.records(OutboxMessage).iterate() if each.status == "sent"}
    names = [line.partition(" ")[0] for line in lines]
    yield Row(name=f"{wanted:,} messages sent by two workers", ours=wanted / seconds, unit="messages/s")
    yield at_most("  lost, one worker killed", len(ids - set(names)) + wanted - len(ids), 0, unit="messages")
    yield at_most("  under a second id", len(set(lines)) - len(set(names)), 0, unit="messages")
    yield at_most("  twice under the same id", len(names) - len(set(names)), 1, unit="messages")
    yield from _alone(place, SIZE)


def _alone(place: Path, size: int) -> Iterator[Row]:
    """Queue and send by one worker, of whose process the seconds at work are counted."""
    _queued(place, size, "alone")
    command = [sys.executable, "-m", "tests.benchmarks.bench_outbox", str(place)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    sent, seconds, worked = int(told[0]), float(told[1]), float(told[2])
    assert size == sent
    yield Row(name=f"{size:,} messages sent by one worker", ours=sent / seconds, unit="messages/s")
    yield at_least("  by the seconds of its own process", sent / worked, _LEAST, unit="messages/s")


def _fill(place: Path, size: int) -> None:
    with CRM.open(place) as crm, crm.operation("customers of the bench"):
        people = crm.customers.add_many(Customer(name=f"سارا {number}") for number in range(size))
        points = crm.contact_points.add_many(
            ContactPoint(customer_id=each.id, kind="email", value=f"p{number}@example.org", primary=True)
            for number, each in enumerate(people)
        )
        crm.records(Consent).add_many(
            Consent(
                contact_point_id=each.id, purpose="marketing", status="granted", at=datetime(2026, 1, 1, tzinfo=UTC)
            )
            for each in points
        )
        crm.records(MessageTemplate).add(MessageTemplate(name="news", subject="November", body=_TEXT))


def _queued(place: Path, size: int, key: str) -> tuple[float, float, float]:
    """Queue in a process of its own; returns its seconds, those at work, and its peak of memory in megabytes."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_outbox", str(place), str(size), key]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    seconds, worked, peak = map(float, told)
    return seconds, worked, peak


def queue(place: Path, size: int, key: str) -> tuple[float, float]:
    """Queue a message for so many, half of them by either account; returns the seconds, and those at work itself."""
    with CRM.open(place) as crm:
        people = [each.id for each in crm.customers.iterate()][:size]
        halves = [
            (Mailing(template="news", key=f"{key}-{name}", account=name), people[number::2])
            for number, name in enumerate(ACCOUNTS)
        ]
        for mailing, some in halves:
            send_to_many(crm, mailing, some, dry_run=True)  # loads what is loaded once
        began, worked = perf_counter(), process_time()
        queued = sum(send_to_many(crm, mailing, some).queued for mailing, some in halves)
        seconds, worked = perf_counter() - began, process_time() - worked
        assert size == queued
    return seconds, worked


def send(place: Path) -> tuple[int, float, float]:
    """Send what waits; returns how many left, the seconds, and those at work."""
    with CRM.open(place) as crm:
        waits = crm.records(OutboxMessage).count('status = "queued"')
        began, worked = perf_counter(), process_time()
        for name in ACCOUNTS:
            send_account(JobRun(crm=crm, part=name, stopping=lambda: False))
        seconds, worked = perf_counter() - began, process_time() - worked
        return waits - crm.records(OutboxMessage).count('status = "queued"'), seconds, worked


def _sent(place: Path, wanted: int) -> tuple[float, list[str]]:
    """Let two workers send, kill the first when half is out; returns the seconds, and the lines of what left."""
    with _worker(place) as first, _worker(place):
        while not _lines(place):
            sleep(0.02)
        began, killed = perf_counter(), False
        while len(_lines(place)) < wanted:
            if not killed and len(_lines(place)) > wanted // 2:
                os.killpg(first.pid, signal.SIGKILL)
                killed = True
            if perf_counter() - began > _PATIENCE:
                break
            sleep(0.05)
        seconds = perf_counter() - began
    return seconds, _lines(place)


@contextmanager
def _worker(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `crm run` of one worker; at the end it finishes the message at hand."""
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "run", "--every", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as worker:
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)


def _lines(place: Path) -> list[str]:
    return [
        line
        for name in ACCOUNTS
        if (place / name).exists()
        for line in (place / name).read_text("utf-8").split("\n")[:-1]
    ]


if __name__ == "__main__" and len(sys.argv) == 2:
    print(*send(Path(sys.argv[1])))
elif __name__ == "__main__":
    taken = queue(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    print(*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
