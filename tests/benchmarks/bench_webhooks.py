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
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
    """Send some hundred events by 32 connections; the long form sends 15,000, half a minute at 500 a second."""
    count = 15_000 if full else 600
    secret = "whsec_" + base64.b64encode(_KEY).decode()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"BENCH_SECRET": secret}):
        place = Path(folder)
        (place / "crm.toml").write_text(_SETTINGS, "utf-8")
        with CRM.open(place):
            pass
        command = [sys.executable, "-m", "crm_core", "-w", folder, "hooks", "serve", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().split(":")[2].partition("/")[0])
            try:
                _send(port, range(count, count + 100))
                began = time.perf_counter()
                taken = _send(port, range(count))
                rate = count / (time.perf_counter() - began)
            finally:
                server.terminate()
        with CRM.open(place) as crm:
            lost = count + 100 - crm.interactions.count()
    p95 = sorted(taken)[int(len(taken) * 0.95)] * 1000
    return [
        at_least(f"{count:,} events by {_CONNECTIONS} connections", rate, 500, unit="webhooks/s"),
        at_most("an answer, p95", p95, 200, unit="ms"),
        at_most("events lost or doubled", abs(lost), 0, unit="events"),
    ]


def _send(port: int, numbers: range) -> list[float]:
    parts = [numbers[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return [seconds for each in pool.map(lambda part: _sent(port, part), parts) for seconds in each]


def _sent(port: int, numbers: range) -> list[float]:
    """Send events one after the other by one connection; returns the seconds of each."""
    taken = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in numbers:
            data = {"email": f"sender{number % 200}@example.org", "name": "سارا", "text": f"Order {number}? " * 10}
            body = json.dumps({"type": "message.created", "data": data}).encode()
            name, stamp = f"msg_{number}", str(int(time.time()))
            signature = base64.b64encode(hmac.digest(_KEY, f"{name}.{stamp}.".encode() + body, "sha256")).decode()
            headers = {"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}
            began = time.perf_counter()
            connection.request("POST", "/hooks/events", body, headers)
            answer = connection.getresponse()
            answer.read()
            taken.append(time.perf_counter() - began)
            assert answer.status == 200, f"event {number} was answered {answer.status}"
    return taken
