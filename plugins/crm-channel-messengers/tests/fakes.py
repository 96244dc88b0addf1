"""Fakes of the services: real HTTP servers that answer as the vendors document it, errors and limits included.

They were never compared with the services themselves; Kavenegar's status codes are the least certain.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic, sleep, time
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Mapping[str, Any], Mapping[str, str]]


class Fake:
    """A server of one service; `fault`, if set, is what it answers instead."""

    def __init__(self) -> None:
        self.fault: Callable[[], Answer] | None = None
        self.texts: list[str] = []
        self.connections = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                fake.connections += 1
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, content, more = (fake.fault or (lambda: fake.answer(self.path, headers, body)))()
                raw = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(raw)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = handle_one  # noqa: N815  # the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        raise NotImplementedError

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class FakeTelegram(Fake):
    """The Bot API: confirmed updates are forgotten, a page has 100 at most, `timeout` waits, a wrong token is 401."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token
        self.updates: list[dict[str, Any]] = []
        self._last = 1000
        self._known: dict[str, int] = {}

    def arrive(self, **message: Any) -> dict[str, Any]:
        """Have a message come; the same text of the same sender is the same message."""
        number = self._known.setdefault(json.dumps(message), len(self._known) + 1)
        return self.update(message={"message_id": number, **message})

    def update(self, **content: Any) -> dict[str, Any]:
        self._last += 1
        self.updates.append({"update_id": self._last, **content})
        return self.updates[-1]

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        _, bot, method = path.split("/")
        if bot != f"bot{self._token}":
            return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}, {}
        asked = json.loads(body)
        if method == "getUpdates":
            self.updates = [each for each in self.updates if each["update_id"] >= asked["offset"]]
            ends = monotonic() + asked["timeout"]
            while not self.updates and monotonic() < ends:  # a long poll
                sleep(0.02)
            return 200, {"ok": True, "result": self.updates[: asked["limit"]]}, {}
        if method == "sendMessage":
            self.texts.append(asked["text"])
            chat = {"id": int(asked["chat_id"]), "type": "private"}
            return 200, {"ok": True, "result": {"message_id": len(self.texts), "chat": chat, "date": 1}}, {}
        return 200, {"ok": True, "result": {"id": 1, "is_bot": True, "username": "shop_bot"}}, {}


def unproved(path: str, token: str, app_secret: str) -> Answer | None:
    """Return what the Graph API answers an app that requires its secret's proof, if that is wrong; None if not."""
    given = parse_qs(urlsplit(path).query).get("appsecret_proof", [""])[0]
    if given == hmac.digest(app_secret.encode(), token.encode(), "sha256").hex():
        return None
    told = "Invalid appsecret_proof provided in the API argument" if given else "require an appsecret_proof argument"
    return 400, {"error": {"message": told, "type": "GraphMethodException", "code": 100}}, {}


class FakeWhatsApp(Fake):
    """The Cloud API: messages by POST, an expired token is code 190; the app requires the proof of its secret."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = self.app_secret = token
        self.ids: list[str] = []
        self.asked: list[Mapping[str, Any]] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {self._token}":
            error = {"message": "Error validating access token", "type": "OAuthException", "code": 190}
            return 401, {"error": error}, {}
        if (refused := unproved(path, self._token, self.app_secret)) is not None:
            return refused
        if not urlsplit(path).path.endswith("/messages"):
            return 200, {"display_phone_number": "+1 555", "verified_name": "Shop", "id": "77"}, {}
        asked = json.loads(body)
        self.asked.append(asked)
        self.ids.append(asked["biz_opaque_callback_data"])
        self.texts.append(asked["text"]["body"])
        contacts = [{"input": asked["to"], "wa_id": asked["to"]}] if "to" in asked else []
        messages = [{"id": f"wamid.{len(self.ids)}"}]
        return 200, {"messaging_product": "whatsapp", "contacts": contacts, "messages": messages}, {}


class FakeKavenegar(Fake):
    """The REST interface of version 1: a `localid` that came before sends nothing again, a wrong key is 403.

    Of the inbox: `receive` gives what is unread, 100 at most, the oldest first, and marks it as read; `inboxpaged`
    gives what is read of two days at most, the newest first, 200 a page. `status` of what it does not know is 100.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._unread: list[Mapping[str, Any]] = []
        self._read: list[Mapping[str, Any]] = []
        self._known: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.blocked: set[str] = set()

    def arrive(self, key: str, sender: str, text: str, *, ago: int = 0, **odd: Any) -> Mapping[str, Any]:
        """Have a message come, so many seconds ago; the same key is the same message, which comes only once."""
        number = self._known.setdefault(key, 35_850_015 + len(self._known))
        entry = {"messageid": number, "message": text, "sender": sender, "receptor": "10004346", **odd}
        entry.setdefault("date", int(time()) - ago)
        if number not in [each.get("messageid") for each in (*self._unread, *self._read)]:
            self._unread.append(entry)
        return entry

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        _, version, key, method = path.split("/", 3)
        if (version, key) != ("v1", self._key):
            return 403, {"return": {"status": 403, "message": "کد شناسائی معتبر نمی باشد"}, "entries": None}, {}
        done = {"status": 200, "message": "تایید شد"}
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if method == "account/info.json":
            return 200, {"return": done, "entries": {"remaincredit": 1500}}, {}
        if method == "sms/receive.json" and asked["isread"] == "0":
            found, self._unread = self._unread[:100], self._unread[100:]
            self._read = [*reversed(found), *self._read]
            return 200, {"return": done, "entries": found or None}, {}
        if method == "sms/inboxpaged.json" and asked["isread"] == "1":
            return self._page(done, **{name: int(asked[name]) for name in ("startdate", "enddate", "pagenumber")})
        if method == "sms/status.json":
            code = self.statuses.get(asked["messageid"], 100)
            told = {"messageid": int(asked["messageid"]), "status": code, "statustext": f"وضعیت {code}"}
            return 200, {"return": done, "entries": [told]}, {}
        if asked["receptor"] in self.blocked:
            entry = {"messageid": 1, "receptor": asked["receptor"], "status": 14, "statustext": "بلاک شده"}
            return 200, {"return": done, "entries": [entry]}, {}
        if asked["localid"] not in self._entries:
            self.texts.append(asked["message"])
            entry = {"messageid": 8_792_343 + len(self.texts), "receptor": asked["receptor"], "status": 1}
            self._entries[asked["localid"]] = entry
        return 200, {"return": done, "entries": [self._entries[asked["localid"]]]}, {}

    def _page(self, done: Mapping[str, Any], *, startdate: int, enddate: int, pagenumber: int) -> Answer:
        if not 0 <= enddate - startdate <= 172_800:
            return 417, {"return": {"status": 417, "message": "تاریخ معتبر نمی باشد"}, "entries": None}, {}
        now = int(time())
        dates = [(each["date"] if isinstance(each["date"], int) else now, each) for each in self._read]
        found = [each for date, each in dates if startdate <= date <= enddate]
        some = found[200 * (pagenumber - 1) : 200 * pagenumber]
        told = {
            "totalcount": len(found),
            "currentpage": pagenumber,
            "totalpages": -(-len(found) // 200),
            "pagesize": 200,
        }
        metadata = {name: str(value) for name, value in told.items()}
        return 200, {"return": done, "entries": some or None, "metadata": metadata}, {}


class FakeTwilio(Fake):
    """The REST interface of 2010-04-01: messages by POST of a form, wrong credentials are 20003.

    Nothing goes to whoever wrote STOP to it: 21610.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self.unsubscribed: set[str] = set()
        self._authorization = "Basic " + base64.b64encode(f"AC1:{token}".encode()).decode()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != self._authorization:
            return 401, {"code": 20003, "message": "Authenticate", "status": 401}, {}
        if not path.endswith("/Messages.json"):
            return 200, {"sid": "AC1", "friendly_name": "Shop", "status": "active"}, {}
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if asked["To"] in self.unsubscribed:
            told = "Attempt to send to unsubscribed recipient"
            return 400, {"code": 21610, "message": told, "status": 400}, {}
        self.texts.append(asked["Body"])
        return 201, {"sid": f"SM{len(self.texts)}", "status": "queued"}, {}


class FakeViber(Fake):
    """The REST interface of bots: the token in a header, every answer 200 with a status of its own."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token
        self.ids: list[str] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("x-viber-auth-token") != self._token:
            return 200, {"status": 2, "status_message": "invalidAuthToken", "chat_hostname": "SN-1"}, {}
        asked = json.loads(body)
        if path == "/pa/get_account_info":
            return 200, {"status": 0, "status_message": "ok", "id": "pa:1", "name": "Shop"}, {}
        if not asked.get("sender", {}).get("name") or not asked.get("text"):
            return 200, {"status": 4, "status_message": "missingData"}, {}
        if asked["receiver"] == "gone==":
            return 200, {"status": 6, "status_message": "notSubscribed"}, {}
        self.ids.append(asked["tracking_data"])
        self.texts.append(asked["text"])
        token = 4_912_661_846_655_238_145 + len(self.ids)
        return 200, {"status": 0, "status_message": "ok", "message_token": token, "billing_status": 1}, {}


class FakePages(Fake):
    """The Graph API of pages: messages by POST, errors with code and subcode, proof of the app's secret required."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = self.app_secret = token
        self.asked: list[Mapping[str, Any]] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {self._token}":
            error = {"message": "Invalid OAuth access token.", "type": "OAuthException", "code": 190}
            return 400, {"error": error}, {}
        if (refused := unproved(path, self._token, self.app_secret)) is not None:
            return refused
        if not urlsplit(path).path.endswith("/messages"):
            return 200, {"name": "Shop", "id": "77"}, {}
        asked = json.loads(body)
        if asked["recipient"]["id"] == "late":
            error = {"message": "(#10) Outside of allowed window", "code": 10, "error_subcode": 2018278}
            return 400, {"error": error}, {}
        self.asked.append(asked)
        self.texts.append(asked["message"]["text"])
        return 200, {"recipient_id": asked["recipient"]["id"], "message_id": f"m_{len(self.texts)}"}, {}


class FakeNotified(Fake):
    """What apprise's `json://` posts to: a title and a text, for the recipient that the path names."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.paths: list[str] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.paths.append(path)
        self.texts.append(json.loads(body)["message"])
        return 200, {}, {}
