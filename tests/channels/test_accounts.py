"""Accounts of channels in `crm.toml`: typed, checked, and without a secret in anything that shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from pathlib import Path

import attrs
import pytest

from crm_channel_folder.channel import FolderSettings
from crm_core import CRM
from crm_core.errors import InvalidValue, NotFound, SettingsError, TryLater
from crm_core.extend import Address, ChannelAccount, ChannelType, OutgoingMessage, WebhookRequest
from crm_core.services.channels import OpenChannel
from crm_core.settings import Secret, load_settings

PLUGIN = Path(__file__).with_name("faulty.py")
CANARY = "canary-5f2d9c1b7e"


def workspace(place: Path, account: str) -> Path:
    text = f'plugins = [{json.dumps(str(PLUGIN))}]\n[storage]\nurl = "memory:"\n[channels.desk]\n{account}\n'
    (place / "crm.toml").write_text(text, "utf-8")
    return place


def test_an_account_has_rules_of_its_own_and_those_of_its_channel(tmp_path: Path) -> None:
    account = 'type = "MakesUpIds"\nevery = 5\nper_minute = 30\nquiet_hours = "22:00-07:30"\nfolder = "x"'
    with CRM.open(workspace(tmp_path, f'{account}\nkey = {{file = "key.txt"}}')) as crm:
        found = crm.channels.account("desk")
        assert (5.0, 30, (time(22), time(7, 30))) == (found.every, found.per_minute, found.quiet_hours)
        (tmp_path / "key.txt").write_text(f"{CANARY}\n", "utf-8")
        assert CANARY == crm.channels.open("desk")._channel._settings.key.reveal()  # type: ignore[attr-defined]
        with pytest.raises(NotFound):
            crm.channels.account("shop")


@pytest.mark.parametrize(
    ("account", "says"),
    [
        (f'type = "MakesUpIds"\nfolder = "x"\nkey = "{CANARY}"', "never the secret itself"),
        (f'type = "MakesUpIds"\nfolder = "x"\nkey = {{password = "{CANARY}"}}', "never the secret itself"),
        ('type = "MakesUpIds"\nfolder = "x"', "key is missing"),
        (f'type = "MakesUpIds"\nfolder = "x"\nkey = {{env = "K"}}\npasword = "{CANARY}"', "has no key 'pasword'"),
        (f'type = "MakesUpIds"\nfolder = ["{CANARY}"]\nkey = {{env = "K"}}', "folder is list"),
        ('type = "MakesUpId"', "no plugin at work brings the channel 'MakesUpId'"),
    ],
)
def test_a_wrong_account_is_named_and_what_it_holds_is_not(tmp_path: Path, account: str, says: str) -> None:
    with CRM.open(workspace(tmp_path, account)) as crm:
        assert CANARY not in repr(crm.settings)
        with pytest.raises(SettingsError, match=says) as caught:
            crm.channels.open("desk")
        assert CANARY not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize("line", ['every = "soon"', 'quiet_hours = "22:00"', "per_minute = -1"])
def test_a_wrong_rule_stops_the_workspace(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match=line.partition(" ")[0]):
        load_settings(workspace(tmp_path, f'type = "MakesUpIds"\n{line}'))


def test_a_secret_that_is_not_there_is_named_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRM_NO_SUCH_KEY", raising=False)
    for secret, says in [
        (Secret(env="CRM_NO_SUCH_KEY"), "the environment variable CRM_NO_SUCH_KEY"),
        (Secret(file="gone", directory=tmp_path), "No such file"),
        (Secret(keyring="mail/sara"), "keyring"),
    ]:
        with pytest.raises(SettingsError, match=says):
            secret.reveal()


def test_an_unexpected_error_becomes_one_to_try_later_and_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_KEY", f"{CANARY}&/=")

    def fail(account: ChannelAccount) -> object:
        raise RuntimeError(f"LOGIN desk {CANARY}&/= failed at https://example.org/?key={CANARY}%26%2F%3D")

    kind = ChannelType(
        name="x",
        label="X",
        address_kind="email",
        settings=FolderSettings,
        open=fail,  # type: ignore[arg-type]  # never returns
        capabilities=frozenset({"poll"}),
    )
    settings = FolderSettings(folder="x", key=Secret(env="CRM_KEY"))
    with pytest.raises(TryLater, match="RuntimeError") as caught:
        OpenChannel(ChannelAccount(name="desk", settings=settings), kind)
    assert CANARY not in f"{caught.value!r}{caught.value.hint}{caught.value.args}"
    assert CANARY not in f"{settings!r}{settings}{attrs.asdict(settings)}"


@pytest.mark.parametrize("bad", ["a\r\nBcc: x@example.org", "a\nb", "a\x00b", "a\u2028b", "a\x85b"])
def test_what_would_begin_a_header_is_refused(bad: str) -> None:
    good = Address(kind="email", value="a@example.org")
    for make in (
        lambda: Address(kind="email", value=bad),
        lambda: Address(kind="email", value="a@example.org", name=bad),
        lambda: OutgoingMessage(message_id="1", recipient=good, subject=bad),
        lambda: OutgoingMessage(message_id=bad, recipient=good),
        lambda: OutgoingMessage(message_id="1", recipient=good, replies_to=(bad,)),
        lambda: OutgoingMessage(message_id="1", recipient=good, headers={bad: "x"}),
        lambda: OutgoingMessage(message_id="1", recipient=good, headers={"x": bad}),
    ):
        with pytest.raises(InvalidValue):
            make()  # type: ignore[no-untyped-call]


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidValue, match="zone"):
        WebhookRequest(received_at=datetime(2026, 1, 1))  # noqa: DTZ001
    WebhookRequest(received_at=datetime(2026, 1, 1, tzinfo=UTC))
