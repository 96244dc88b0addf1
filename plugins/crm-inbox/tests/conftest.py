"""A workspace whose one account, `desk`, is the folder of `examples/crm-channel-folder`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import crm_channel_folder
from crm_core import CRM
from crm_core.values import FixedClock

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
PLUGIN = """
from crm_channel_folder.plugin import plugin
register_channels = plugin.register_channels
"""
Arrive = Callable[..., None]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace's directory."""
    monkeypatch.setenv("DESK_KEY", "canary-5f2d9c1b7e")
    monkeypatch.setenv("PYTHONPATH", str(Path(crm_channel_folder.__file__).parent.parent))
    for name in ("in", "out"):
        (tmp_path / "desk" / name).mkdir(parents=True)
    (tmp_path / "folder.py").write_text(PLUGIN, "utf-8")
    settings = 'plugins = ["./folder.py"]\n[crm]\ncurrency = "EUR"\n[storage]\nurl = "sqlite:///crm.db"\n'
    settings += '[channels.desk]\ntype = "folder"\nevery = 1\nfolder = "desk"\nkey = {env = "DESK_KEY"}\n'
    (tmp_path / "crm.toml").write_text(settings, "utf-8")
    return tmp_path


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def crm(place: Path, clock: FixedClock) -> Iterator[CRM]:
    """The CRM of the workspace, at a time that stands still."""
    with CRM.open(place, clock=clock) as opened:
        yield opened


@pytest.fixture
def arrive(place: Path) -> Arrive:
    """Has a message come in at the desk."""

    def put(key: str, /, text: str = "Hello", *, sender: str = "sara@example.org", **more: Any) -> None:
        files = [{**file, "content": base64.b64encode(file["content"]).decode()} for file in more.pop("files", [])]
        content = {"id": key, "from": sender, "at": NOW.isoformat(), "text": text, "attachments": files, **more}
        part = place / "part"
        part.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        part.rename(place / "desk" / "in" / f"{len(list((place / 'desk/in').iterdir())):04}.json")

    return put


def poll(crm: CRM) -> str:
    """Poll the desk as `crm run` does; returns what it told."""
    from crm_core.extend import JobRun
    from crm_inbox.polling import poll_account

    return poll_account(JobRun(crm=crm, part="desk", stopping=lambda: False)).told
