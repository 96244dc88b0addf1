"""A fake token server: a real HTTP server that renews tokens as RFC 6749 says (sections 2.3.1, 5.1, 5.2 and 6).

It was never compared with those of Google or Microsoft; the errors are those of the RFC, in its form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

CLIENT, CLIENT_SECRET, REFRESH = "crm-client", "client-canary-11ab", "refresh-canary-22cd"


class FakeTokenServer:
    """Renews tokens for one client; `issue` makes them, `rotates` says whether each refresh token is good for once."""

    def __init__(self, issue: Callable[[], str]) -> None:
        self.issue = issue
        self.rotates = False
        self.lasts: int | None = 3600
        self.fault: tuple[int, bytes] | None = None
        self.refresh = REFRESH
        self.asked: list[Mapping[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                assert "application/x-www-form-urlencoded" == self.headers["content-type"]
                status, content = fake.fault or fake.answer({name: one for name, (one,) in parse_qs(body).items()})
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("cache-control", "no-store")
                if status == 302:
                    self.send_header("location", f"{fake.url}/elsewhere")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answer(self, given: Mapping[str, str]) -> tuple[int, bytes]:
        """Answer a request."""
        self.asked.append(given)
        if given.get("grant_type") != "refresh_token":
            return self._refused(400, "unsupported_grant_type")
        if (given.get("client_id"), given.get("client_secret")) != (CLIENT, CLIENT_SECRET):
            return self._refused(401, "invalid_client")
        if given.get("refresh_token") != self.refresh:
            return self._refused(400, "invalid_grant", "Token has been expired or revoked.")
        content: dict[str, Any] = {"access_token": self.issue(), "token_type": "Bearer"}
        if self.lasts is not None:
            content["expires_in"] = self.lasts
        if self.rotates:
            self.refresh += "+"
            content["refresh_token"] = self.refresh
        return 200, json.dumps(content).encode()

    def _refused(self, status: int, problem: str, told: str = "") -> tuple[int, bytes]:
        return status, json.dumps({"error": problem, **({"error_description": told} if told else {})}).encode()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def fake_token_server(issue: Callable[[], str]) -> Iterator[FakeTokenServer]:
    """Run the fake until the end of the `with`."""
    made = FakeTokenServer(issue)
    try:
        yield made
    finally:
        made.close()
