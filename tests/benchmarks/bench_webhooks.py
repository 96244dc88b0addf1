"""Webhooks through `crm hooks serve`: signed events over real connections, each answered when it is committed."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

from crm_core import CRM
from tests.benchmarks import Row, at_least, at_most

_KEY = b"a key of twenty-four bytes"
_CONNECTIONS = 32
_SETTINGS = (
    '[storage]\nurl = "sqlite:///crm.db"\n[channels.events]\ntype = "webhook"\nsecret = {env = "BENCH_SECRET"}\n'
)


def run(full: bool) -> list[Row]:
    """Send some hundred events by 32 connections; the long form sends 15,000, half a minute at 500 a second.

    Then the server is killed amid as many as a tenth, and what it had not answered is sent again to another one.
    """
    count = 15_000 if full else 600
    more = max(count // 10, 200)
    secret = "whsec_" + base64.b64encode(_KEY).decode()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"BENCH_SECRET": secret}):
        place = Path(folder)
        (place / "crm.toml").write_text(_SETTINGS, "utf-8")
        with CRM.open(place):
            pass
        with _serving(place) as (server, port):
            _send(port, range(count, count + 100))
            began, worked = time.perf_counter(), _seconds_of(server)
            taken = _send(port, range(count))
            rate = count / (time.perf_counter() - began)
            worked = _seconds_of(server) - worked
            killed = range(count + 100, count + 100 + more)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(_killed, server, place, count + 100 + more // 3)
                answered = _send(port, killed)
            assert len(answered) < more, "the server was killed after all were answered"
        with CRM.open(place) as crm:
            names = [f"msg_{number}" for number in answered if number in killed]
            lost = len(set(names) - set(crm.external_ids.find_many("interaction", "channel:events", names)))
        with _serving(place, port):
            _send(port, killed)
        with CRM.open(place) as crm:
            doubled = crm.interactions.count() - count - 100 - more
    p95 = sorted(taken.values())[int(len(taken) * 0.95)] * 1000
    return [
        at_least(f"{count:,} events by {_CONNECTIONS} connections", rate, 500, unit="webhooks/s"),
        Row(name="  by the seconds that the server worked", ours=count / worked, unit="webhooks/s"),
        at_most("  an answer, p95", p95, 200, unit="ms"),
        at_most(f"answered and lost over a kill -9, of {len(names):,}", lost, 0, unit="events"),
        at_most("lost or doubled when all were sent again", abs(doubled), 0, unit="events"),
    ]


@contextmanager
def _serving(place: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "hooks", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, int(server.stdout.readline().split(":")[2].partition("/")[0])
        finally:
            server.terminate()


def _seconds_of(server: subprocess.Popen[str]) -> float:
    """Return how long a process was at work so far, by what the system says of it; only Linux does."""
    told = Path(f"/proc/{server.pid}/stat")
    if not told.exists():
        return float("nan")
    fields = told.read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _killed(server: subprocess.Popen[str], place: Path, wanted: int) -> None:
    """Kill the server when so many events are stored."""
    with CRM.open(place) as crm:
        while crm.interactions.count() < wanted:
            time.sleep(0.002)
        server.kill()


def _send(port: int, numbers: range) -> dict[int, float]:
    """Send events by many connections; returns the seconds of each that was answered."""
    parts = [numbers[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return {number: seconds for each in pool.map(lambda part: _sent(port, part), parts) for number, seconds in each}


def _sent(port: int, numbers: range) -> list[tuple[int, float]]:
    """Send events one after the other by one connection, until nobody answers; returns the seconds of each."""
    taken = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in numbers:
            data = {"email": f"sender{number % 200}@example.org", "name": "سارا", "text": f"Order {number}? " * 10}
            body = json.dumps({"type": "message.created", "data": data}).encode()
            name, stamp = f"msg_{number}", str(int(time.time()))
            signature = base64.b64encode(hmac.digest(_KEY, f"{name}.{stamp}.".encode() + body, "sha256")).decode()
            headers = {"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}
            began = time.perf_counter()
            try:
                connection.request("POST", "/hooks/events", body, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return taken
            taken.append((number, time.perf_counter() - began))
            assert answer.status == 200, f"event {number} was answered {answer.status}"
    return taken
