"""`crm.toml`: what it may say, what is said of a mistake, and what writing it leaves alone."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from crm_core import CRM
from crm_core.errors import SettingsError
from crm_core.settings import (
    OwnField,
    Settings,
    add_to_settings,
    default_policies,
    find_workspace,
    load_settings,
    set_disabled,
    settings_for_url,
    write_settings,
)

FULL = """\
# تنظیمات
[crm]
currency = "EUR"
zone = "Asia/Tehran"
calendar = "gregorian"
reporting_currency = "EUR"
user = "ada"

[storage]
url = "sqlite:///crm.db"
timeout = 2.5

[plugins]
disabled = ["kpi"]
order = ["products"]
paths = ["./my_hooks.py"]
slow_after = 3

[policies]
active_days = 180
history_starts_on = 2017-01-01

[policies.clv]
horizon = 12

[rates]
"2026-01-01" = {USD = "0.92", AMD = 0.0024}
"2025-01-01" = {USD = "0.96"}

[fields.customer.sector]
type = "text"
label = "بخش"
choices = ["retail", "մանրածախ"]

[fields.deal.parent]
type = "reference"
references = "deal"

[pipelines.maven]
label = "Maven"
on_won = "sale"
stages = [
    {name = "engaging", probability = "0.25"},
    {name = "won", kind = "won", probability = 1},
]
"""


def workspace(directory: Path, text: str) -> Path:
    (directory / "crm.toml").write_text(text, "utf-8")
    return directory


def mistake(directory: Path, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as wrong:
        load_settings(workspace(directory, text))
    assert str(directory / "crm.toml") in wrong.value.message
    return wrong.value


def test_everything_a_workspace_may_say_is_understood(tmp_path: Path) -> None:
    settings = load_settings(workspace(tmp_path, FULL))
    assert (tmp_path, "sqlite:///crm.db") == (settings.directory, settings.storage_url)
    assert {"timeout": 2.5} == settings.storage_options
    assert isinstance(settings.storage_options["timeout"], float)
    assert ("EUR", ZoneInfo("Asia/Tehran"), "EUR", "ada") == (
        settings.currency,
        settings.zone,
        settings.reporting_currency,
        settings.user,
    )
    assert (None, ("kpi",), ("products",), ("./my_hooks.py",), 3.0) == (
        settings.plugins_enabled,
        settings.plugins_disabled,
        settings.plugins_order,
        settings.plugins_paths,
        settings.slow_after,
    )
    assert (180, 3, {"horizon": 12}) == tuple(
        settings.policies[name] for name in ("active_days", "history_months", "clv")
    )
    assert date(2017, 1, 1) == settings.history_starts_on
    assert [date(2025, 1, 1), date(2026, 1, 1)] == list(settings.rates)
    assert {"USD": Decimal("0.92"), "AMD": Decimal("0.0024")} == settings.rates[date(2026, 1, 1)]
    sector = OwnField(name="sector", type="text", label="بخش", choices=("retail", "մանրածախ"))
    assert (sector,) == settings.fields["customer"]
    assert "Parent" == settings.fields["deal"][0].label
    stages = settings.pipelines["maven"]["stages"]
    assert [("engaging", "open", Decimal("0.25")), ("won", "won", Decimal(1))] == [
        (stage["name"], stage["kind"], stage["probability"]) for stage in stages
    ]


def test_a_url_alone_is_enough() -> None:
    settings = settings_for_url("memory:")
    assert ("memory:", None, ZoneInfo("UTC"), "gregorian") == (
        settings.storage_url,
        settings.directory,
        settings.zone,
        settings.calendar,
    )
    assert default_policies() == settings.policies
    with pytest.raises(SettingsError, match="starts with its scheme"):
        settings_for_url("crm.db")


STORAGE = '[storage]\nurl = "memory:"\n'


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ('[crm]\ncurency = "EUR"', "[crm] has no key 'curency'", "did you mean 'currency'?"),
        ('[crm]\ncurrency = "euro"', "[crm] currency is 'euro'; expected an ISO 4217 code", 'currency = "EUR"'),
        ('[crm]\nzone = "Asia/Teheran"', "[crm] zone is 'Asia/Teheran'; expected an IANA time", 'zone = "Asia/Tehran"'),
        ('[crm]\nzone = "Asia"', "[crm] zone is 'Asia'; expected an IANA time zone", "for example"),
        ('[crm]\nzone = "../../etc/passwd"', "expected an IANA time zone", "for example"),
        ("[crm]\nuser = 3", "[crm] user is 3; expected a user's name", 'user = "ada"'),
        ("[plugin]\ndisabled = []", "the top level has no key 'plugin'", "did you mean 'plugins'?"),
        ('[plugins]\ndisable = ["kpi"]', "[plugins] has no key 'disable'", "did you mean 'disabled'?"),
        ('[plugins]\ndisabled = "kpi"', "[plugins] disabled is 'kpi'; expected a list", 'disabled = ["kpi"]'),
        ("[plugins]\nslow_after = 0", "[plugins] slow_after is 0; expected seconds above 0", "slow_after = 5"),
        ("[policies]\nactive_day = 1", "[policies] has no key 'active_day'", "did you mean 'active_days'?"),
        ("[policies]\nactive_days = 0", "[policies] active_days is 0; expected days, 1 or more", "active_days = 180"),
        ("[policies]\nactive_days = true", "[policies] active_days is True", "active_days = 180"),
        ('[policies]\nhistory_starts_on = "2017"', "history_starts_on is '2017'; expected a day", "2024-01-01"),
        ('[rates]\n"2026" = {USD = 1}', "[rates] '2026' is no day", "2026-01-01"),
        ('[rates]\n"2026-01-01" = {usd = 1}', "usd is no currency; expected an ISO 4217 code", "USD"),
        ('[rates]\n"2026-01-01" = {USD = -1}', "USD is -1; expected a number above 0", "USD"),
        ('[rates]\n"2026-01-01" = {USD = "nan"}', "USD is 'nan'; expected a number above 0", "USD"),
        ('[rates]\n"2026-01-01" = {USD = 1}', "in a reporting currency, and there is none", "reporting_currency"),
        (
            "[fields.customer]\nsector = 3",
            "customer.sector is int, expected a table",
            "[fields.customer.sector]",
        ),
        ("[fields.customer.Sector]\n", "'Sector' is no name of a field", "a-z"),
        ("[fields.customer.sector]\n", "[fields.customer.sector] type is missing", 'type = "text"'),
        ('[fields.customer.s]\ntype = "txt"', "[fields.customer.s] type is 'txt'; expected one of text", "text"),
        ('[fields.customer.s]\ntype = "reference"', "go together", 'references = "customer"'),
        ('[fields.customer.s]\ntype = "text"\nlable = "S"', "has no key 'lable'", "did you mean 'label'?"),
        ("[pipelines.p]\n", "[pipelines.p] stages is missing; expected a list of stages", "stages = ["),
        ("[pipelines.p]\nstages = []", "[pipelines.p] stages is empty; expected one stage at least", "stages = ["),
        ("[pipelines.p]\nstages = [3]", "pipelines.p.stages, number 1 is int, expected a table", "stages = ["),
        ('[pipelines.p]\nstages = [{name = "a"}, {name = "a"}]', "[pipelines.p] stages names 'a' twice", "stages = ["),
        ("[policies]\nconversion_days = 1e9", "[policies] conversion_days is 1000000000; expected days", "= 90"),
        ("[policies]\nreopen_days = 7", "has no key 'reopen_days'", "conversion_days"),
        ('[pipelines.p]\nstages = [{name = "a", kind = "done"}]', "kind is 'done'; expected open, won or lost", "won"),
        ('[pipelines.p]\nstages = [{name = "a", probability = 2}]', "probability is 2; expected 0 to 1", "0.25"),
        ('[pipelines.p]\non_won = "x"\nstages = [{name = "a"}]', "on_won is 'x'; expected sale or nothing", "sale"),
    ],
)
def test_a_mistake_is_named_with_table_key_and_example(tmp_path: Path, text: str, said: str, hint: str) -> None:
    wrong = mistake(tmp_path, STORAGE + text)
    assert said in wrong.message
    assert hint in wrong.hint
    assert 2 == wrong.exit_code


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[crm\n", "is not valid TOML: "),
        (b'[crm]\nuser = "\xff"', "is not UTF-8: byte 15 is wrong"),
        (b"[crm]\n", "[storage] url is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "crm.toml").write_bytes(content)
    with pytest.raises(SettingsError) as wrong:
        load_settings(tmp_path)
    assert said in wrong.value.message


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_bytes(b"\xef\xbb\xbf" + STORAGE.encode())
    assert "memory:" == load_settings(tmp_path).storage_url


@pytest.mark.parametrize("text", ['storage = "x://u:canary@h/d"', '[storage]\nurl = "canary"', "storage = ['canary']"])
def test_a_secret_shows_in_no_error(tmp_path: Path, text: str) -> None:
    wrong = mistake(tmp_path, text)
    assert "canary" not in wrong.message + wrong.hint


def test_a_secret_shows_in_no_repr() -> None:
    settings = Settings(storage_url="postgresql://u:canary@h/d", storage_options={"password": "canary"})
    assert "canary" not in repr(settings)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as missing:
        load_settings(tmp_path)
    assert f"there is no crm.toml in {tmp_path}" == missing.value.message
    assert f"crm init {tmp_path}" in missing.value.hint


def test_the_workspace_is_the_one_given_else_the_environments_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRM_WORKSPACE", raising=False)
    assert tmp_path == find_workspace()
    monkeypatch.setenv("CRM_WORKSPACE", str(tmp_path / "env"))
    assert (tmp_path / "env", tmp_path / "given") == (find_workspace(), find_workspace("given"))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    place = tmp_path / "تیم"
    file = write_settings(place, storage_url="sqlite:///crm.db", currency="AMD", zone="Asia/Yerevan", user="Արամ")
    settings = load_settings(place)
    assert (place / "crm.toml", "sqlite:///crm.db", "AMD", "Asia/Yerevan", "Արամ") == (
        file,
        settings.storage_url,
        settings.currency,
        settings.zone.key,
        settings.user,
    )
    with pytest.raises(SettingsError, match="is already there"):
        write_settings(place, storage_url="memory:", currency="EUR")


def test_nothing_is_written_of_what_is_not_understood(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="zone is 'Asia/Nowhere'"):
        write_settings(tmp_path / "new", storage_url="memory:", currency="EUR", zone="Asia/Nowhere")
    assert [] == list(tmp_path.iterdir())


def test_additions_leave_comments_and_the_rest_alone(tmp_path: Path) -> None:
    workspace(tmp_path, FULL)
    size = {"size": {"type": "integer", "label": "Größe"}}
    lane = {
        "label": "Lane",
        "stages": [{"name": "open"}, {"name": "won", "kind": "won", "probability": "1"}],
    }
    added = add_to_settings(tmp_path, fields={"customer": size, "sale": size}, pipelines={"lane": lane})
    assert ["fields.customer.size", "fields.sale.size", "pipelines.lane"] == added
    text = (tmp_path / "crm.toml").read_text("utf-8")
    missing = [line for line in FULL.splitlines() if line not in text.splitlines()]
    assert [] == missing
    settings = load_settings(tmp_path)
    assert ["sector", "size"] == [field.name for field in settings.fields["customer"]]
    assert ["Größe"] == [field.label for field in settings.fields["sale"]]
    assert ["maven", "lane"] == list(settings.pipelines)
    assert [] == add_to_settings(tmp_path, fields={"customer": size}, pipelines={"lane": lane})
    assert text == (tmp_path / "crm.toml").read_text("utf-8")


def test_additions_start_tables_that_are_not_there(tmp_path: Path) -> None:
    workspace(tmp_path, STORAGE)
    add_to_settings(tmp_path, fields={"customer": {"size": {"type": "integer"}}})
    assert ["size"] == [field.name for field in load_settings(tmp_path).fields["customer"]]


@pytest.mark.parametrize(
    "fields",
    [{"customer": {"sector": {"type": "integer"}}}, {"customer": {"good": {"type": "text"}, "bad": {"type": "x"}}}],
)
def test_an_addition_that_does_not_fit_writes_nothing(tmp_path: Path, fields: dict[str, dict[str, object]]) -> None:
    workspace(tmp_path, FULL)
    with pytest.raises(SettingsError):
        add_to_settings(tmp_path, fields=fields)  # type: ignore[arg-type]
    assert FULL == (tmp_path / "crm.toml").read_text("utf-8")
    assert ["crm.toml"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[fields.nope.a]\ntype = "text"', "[fields.nope] names no record type"),
        ('[fields.customer.a]\ntype = "reference"\nreferences = "nope"', "[fields.customer.a] references 'nope'"),
    ],
)
def test_own_fields_at_record_types_that_are_not_there_are_refused_with_their_place(
    tmp_path: Path, table: str, said: str
) -> None:
    text = f'[crm]\ncurrency = "EUR"\n[storage]\nurl = "memory:"\n{table}\n'
    (tmp_path / "crm.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=re.escape(f"crm.toml: {said}")):
        CRM.open(tmp_path)


def test_a_list_of_plugins_is_short_for_their_paths(tmp_path: Path) -> None:
    text = 'plugins = ["./my_hooks.py"]\n[crm]\ncurrency = "EUR"\n[storage]\nurl = "memory:"\n'
    (tmp_path / "crm.toml").write_text(text, encoding="utf-8")
    assert ("./my_hooks.py",) == load_settings(tmp_path).plugins_paths


SHORT = """# Our workspace
plugins = [
    "./my_hooks.py",  # what we do ourselves
]  # all of them

# Money
[crm]
currency = "EUR"

[storage]  # here
url = "memory:"
"""


def test_the_short_form_of_plugins_becomes_a_table_when_one_is_switched_off(tmp_path: Path) -> None:
    file = tmp_path / "crm.toml"
    file.write_text(SHORT, encoding="utf-8")
    assert not set_disabled(tmp_path, "قلاب", "قلاب", disabled=False)
    assert SHORT == file.read_text("utf-8")
    assert set_disabled(tmp_path, "قلاب", "قلاب", disabled=True)
    settings = load_settings(tmp_path)
    assert (("./my_hooks.py",), ("قلاب",)) == (settings.plugins_paths, settings.plugins_disabled)
    kept = SHORT.replace('plugins = [\n    "./my_hooks.py",  # what we do ourselves\n]  # all of them\n', "")
    text = file.read_text("utf-8")
    assert text.startswith(kept)
    assert ["# what we do ourselves", "# all of them"] == re.findall("# (?:what|all).*", text)
    assert set_disabled(tmp_path, "قلاب", "قلاب", disabled=False)
    assert () == load_settings(tmp_path).plugins_disabled


def test_a_plugin_that_is_switched_off_by_both_its_names_is_switched_on_whole(tmp_path: Path) -> None:
    text = '[storage]\nurl = "memory:"\n[plugins]\ndisabled = ["kpi", "loyalty", "crm-kpi", "kpi"]  # why\n'
    (tmp_path / "crm.toml").write_text(text, encoding="utf-8")
    assert set_disabled(tmp_path, "kpi", "crm-kpi", disabled=False)
    assert ("loyalty",) == load_settings(tmp_path).plugins_disabled
    assert "# why" in (tmp_path / "crm.toml").read_text("utf-8")
