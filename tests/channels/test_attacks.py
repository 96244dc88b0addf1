"""The attacks that touch channels: the table of docs/channels.md names a test for each, and those of no one plugin."""

from __future__ import annotations

import ast
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_channel_email.mime import Bounds, mail_of
from crm_core import CRM, Customer
from crm_core.cli.main import main
from crm_core.extend import Received
from crm_inbox import receive

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "channels.md"
SECTION = "## Under attack"
ROWS = (
    "header injection",
    "mail loops",
    "forged and replayed webhooks",
    "SSRF by link or redirect",
    "path traversal in attachment names",
    "HTML mail",
    "zip and MIME bombs",
    "template injection",
    "ReDoS",
    "mass assignment",
    "secrets",
    "erasure of a person",
    "consent and unsubscribing",
    "a kill at any step",
)
SECRET = "canary-9d41f7b2c6"
HOSTILE = """\
From: Eve <eve@example.net>
To: desk@example.org
Subject: Look
Message-ID: <1@example.net>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8

<html><head><base href="http://169.254.169.254/"><link rel="stylesheet" href="//127.0.0.1:9/x.css">
<style>@import url(http://127.0.0.1:9/y.css);</style><meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/"></head>
<body background="http://127.0.0.1:9/b.png"><img src="http://2130706433/p.gif"><iframe src="http://0177.0.0.1/"></iframe>
<script>fetch("http://127.1/")</script><a href="http://[::ffff:127.0.0.1]/">Look here</a></body></html>
--b
Content-Type: message/external-body; access-type=URL; URL="http://127.0.0.1:9/body"

Content-Type: text/plain

--b
Content-Type: image/svg+xml; name=x.svg

<!DOCTYPE svg [<!ENTITY x SYSTEM "http://127.0.0.1:9/e">]><svg>&x;</svg>
--b--
""".replace("\n", "\r\n").encode()


def rows_of_the_page() -> Iterator[tuple[str, list[str]]]:
    """Yield the attacks of the page, each with the tests that it names."""
    section = PAGE.read_text("utf-8").partition(SECTION)[2].partition("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and not set(cells[0]) <= {"-", " "} and cells[0] != "attack":
            yield cells[0], re.findall(r"`([^`]+::[^`]+)`", cells[2])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with secrets of each channel, by variable and by file."""
    monkeypatch.setenv("ATTACKED", SECRET)
    (tmp_path / "key.txt").write_text(f"{SECRET}-file\n", "utf-8")
    settings = '[crm]\ncurrency = "EUR"\n[storage]\nurl = "sqlite:///crm.db"\n'
    accounts = {
        "desk": 'type = "email"\naddress = "desk@example.org"\npassword = {env = "ATTACKED"}\nsmtp_host = "127.0.0.1"\n'
        'smtp_port = 9\nimap_host = "127.0.0.1"\nimap_port = 9\ntimeout = 1\n',
        "bot": 'type = "telegram"\ntoken = {file = "key.txt"}\nsecret = {env = "ATTACKED"}\nbase = "http://127.0.0.1:9"\n',
        "events": 'type = "webhook"\nsecret = {env = "ATTACKED"}\n',
        "calls": 'type = "phone-ami"\nhost = "127.0.0.1"\nport = 9\nuser = "crm"\nsecret = {file = "key.txt"}\n',
    }
    for name, lines in accounts.items():
        settings += f"[channels.{name}]\n{lines}"
    (tmp_path / "crm.toml").write_text(settings, "utf-8")
    with CRM.open(tmp_path):
        pass
    return tmp_path


def test_the_page_names_a_test_for_each_attack_that_is_there() -> None:
    rows = dict(rows_of_the_page())
    assert list(ROWS) == list(rows)
    for attack, names in rows.items():
        assert names, f"{attack}: no test is named"
        for name in names:
            file, _, test = name.partition("::")
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert test in functions, f"{attack}: there is no {name}"


@pytest.mark.database("sqlite")
def test_nothing_in_a_mail_makes_a_connection_and_its_html_is_words(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def refuse(*given: Any, **named: Any) -> Any:
        asked.append(given)
        raise OSError("no connection is made")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    message = mail_of(HOSTILE, Bounds()).message
    with CRM.open(place) as crm:
        receive(crm, "desk", Received(messages=[message]))
        (said,) = crm.interactions.find()
    assert "Look here" in (said.body or "")
    assert not re.search(r"<\s*(?:img|script|iframe|style|link|meta|base)\b", said.body or "")
    for command in (["inbox"], ["inbox", "show", "eve@example.net"], ["customers", "show", "eve@example.net"]):
        main(["-w", str(place), *command])
    assert "<script" not in capsys.readouterr().out
    assert [] == asked


@pytest.mark.database("sqlite")
def test_no_secret_is_in_what_commands_say_or_write(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with CRM.open(place) as crm:
        crm.customers.add(Customer(name="Ada"), email="ada@example.org")
        crm.outbox.send("Hello", customer=crm.resolve("customer", "ada@example.org"))
    written = place / "written"
    written.mkdir()
    commands = [
        ["channels", "status"],
        ["channels", "check"],
        ["run", "--once"],
        ["outbox", "list"],
        ["hooks", "list"],
        ["doctor"],
        ["plugins", "list"],
        ["ledger", "list"],
        ["customers", "export-data", "ada@example.org"],
        ["storage", "backup", str(written / "own.backup")],
        ["storage", "backup", str(written / "portable.backup"), "--portable"],
        ["storage", "verify"],
    ]
    for command in commands:
        for more in ([], ["--json"], ["--debug"]):
            main(["-w", str(place), *more, *(part.replace(".backup", f"{len(more)}{more}.backup") for part in command)])
    told = capsys.readouterr()
    assert [False, False, False] == [SECRET in text for text in (told.out, told.err, caplog.text)]
    assert "desk" in told.out + told.err
    raw = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name != "key.txt")
    assert SECRET.encode() not in raw
    assert 6 <= len(list(written.iterdir()))
