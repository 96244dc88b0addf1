"""`crm doctor` tries the accounts: one that is wrong is told, one that hangs holds nobody up, nothing is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM

pytestmark = pytest.mark.database("sqlite")
CHANNEL = """
import time
import attrs
from crm_core import hookimpl
from crm_core.errors import CredentialsWrong
from crm_core.extend import Channel, ChannelType
from crm_core.settings import Secret

@attrs.frozen(kw_only=True)
class Settings:
    does: str
    key: Secret

class Odd(Channel):
    def __init__(self, account):
        self.settings = account.settings

    def check(self):
        does, key = self.settings.does, self.settings.key.reveal()
        if does == "hang":
            time.sleep(600)
        if does == "break":
            raise RuntimeError(f"no host with {key}")
        if does == "refuse":
            raise CredentialsWrong(f"{key} is not known", hint="see the key")
        return f"reached with {key}"

    def send(self, message):
        raise AssertionError("nothing is sent")

@hookimpl
def register_channels():
    return [ChannelType(name="odd", label="Odd", address_kind="email", settings=Settings, open=Odd,
        capabilities=frozenset({"send"}))]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ODD_KEY", "canary-77aa")
    (tmp_path / "odd.py").write_text(CHANNEL, "utf-8")
    text = 'plugins = ["./odd.py"]\n[storage]\nurl = "sqlite:///crm.db"\n'
    for does in ("work", "refuse", "break", "hang"):
        text += f'[channels.{does}]\ntype = "odd"\ndoes = "{does}"\nkey = {{env = "ODD_KEY"}}\n'
    text += '[channels.unset]\ntype = "odd"\ndoes = "work"\nkey = {env = "ODD_NOT_THERE"}\n'
    text += '[channels.strange]\ntype = "nothing"\n'
    (tmp_path / "crm.toml").write_text(text, "utf-8")
    return tmp_path


def test_each_account_is_tried_and_one_that_hangs_holds_nobody_up(place: Path) -> None:
    with CRM.open(place) as crm:
        began = time.monotonic()
        found = {each.account: each for each in crm.channels.check(seconds=1.0)}
    assert time.monotonic() - began < 30
    wanted = {"work": True, "refuse": False, "break": False, "hang": False, "unset": False, "strange": False}
    assert wanted == {name: each.well for name, each in found.items()}
    assert "no answer within 1 seconds" == found["hang"].told
    assert ("*** is not known", "see the key") == (found["refuse"].told, found["refuse"].hint)
    assert "RuntimeError: no host with ***" in found["break"].told
    assert "ODD_NOT_THERE" in found["unset"].told
    assert "no plugin at work brings the channel 'nothing'" in found["strange"].told


def test_doctor_tells_it_shows_no_secret_and_ends(place: Path) -> None:
    text = (place / "crm.toml").read_text("utf-8").replace('does = "hang"', 'does = "work"')
    (place / "crm.toml").write_text(text, "utf-8")
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=120)
    assert 1 == done.returncode
    found: list[dict[str, Any]] = json.loads(done.stdout)
    states = {each["what"]: each["state"] for each in found if each["what"].startswith("account ")}
    assert {"account work": "well", "account refuse": "wrong", "account hang": "well"}.items() <= states.items()
    assert "canary-77aa" not in done.stdout + done.stderr
