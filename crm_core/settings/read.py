"""Reading `crm.toml`: every key is taken once and checked, and what nobody took is a mistake with a name."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

from crm_core.errors import SettingsError
from crm_core.settings import checks
from crm_core.settings.model import FILE_NAME, POLICIES, AccountSettings, FieldKind, LedgerKey, OwnField, Settings
from crm_core.settings.table import Table

WORKSPACE_VARIABLE: Final = "CRM_WORKSPACE"
FIELD_KINDS: Final[tuple[str, ...]] = get_args(FieldKind)

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
_KEY: Final = "the place of a key, never the key itself: {file = ...} or {env = ...}"
_ACCOUNT: Final = re.compile(r"[a-z][a-z0-9_-]{0,59}\Z")
_CURRENCY: Final = "an ISO 4217 code of three capitals"
_NAMES: Final = "a list of plugins' names, as `crm plugins list` shows them"
_STAGES: Final = 'stages = [{name = "new"}, {name = "won", kind = "won", probability = "1"}]'


def find_workspace(given: str | Path | None = None) -> Path:
    """Return the workspace's directory: the one given, else `CRM_WORKSPACE`, else the current directory."""
    return Path(given or os.environ.get(WORKSPACE_VARIABLE) or ".").expanduser().absolute()


def settings_for_url(url: str) -> Settings:
    """Return the settings of a CRM that has no workspace: all defaults around a storage URL."""
    try:
        checks.url(url)
    except ValueError:
        raise SettingsError(
            "a storage URL starts with its scheme and a colon", hint='for example: "sqlite:///crm.db" or "memory:"'
        ) from None
    return Settings(storage_url=url)


def load_settings(directory: str | Path) -> Settings:
    """Read `crm.toml` of a directory.

    Raises:
        SettingsError: there is no such file, or it says something that is not understood: the message names file,
            table, key, what was expected and what was found; the hint gives an example.
    """
    place = Path(directory).expanduser().absolute()
    file = place / FILE_NAME
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise SettingsError(
            f"there is no {FILE_NAME} in {place}",
            hint=f"create one with `crm init {place}`, or name a workspace with -w DIR or {WORKSPACE_VARIABLE}",
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not UTF-8: byte {error.start + 1} is wrong", hint="save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    return parse(text, file)


def parse(text: str, file: Path) -> Settings:
    """Read the text of a settings file; `file` is named in errors."""
    try:
        # Exact decimals: a rate of 0.92 is 92/100, not the float beside it.
        content = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not valid TOML: {error}", hint="see https://toml.io for the format") from None
    if isinstance(content.get("plugins"), list):  # plugins = ["./my_hooks.py"] is short for [plugins] paths
        content["plugins"] = {"paths": content["plugins"]}
    top = Table(file, "", content)
    crm, storage, plugins = top.table("crm"), top.table("storage", secret=True), top.table("plugins")
    ledger = top.table("ledger", secret=True)
    reporting = crm.take("reporting_currency", checks.currency, _CURRENCY, 'reporting_currency = "EUR"', None)
    url = storage.take("url", checks.url, "a storage URL", 'url = "sqlite:///crm.db"')
    options = {key: float(value) if isinstance(value, Decimal) else value for key, value in storage.content.items()}
    settings = Settings(
        directory=file.parent,
        storage_url=url,
        storage_options=MappingProxyType(options),
        currency=crm.take("currency", checks.currency, _CURRENCY, 'currency = "EUR"', "EUR"),
        zone=crm.take("zone", checks.zone, "an IANA time zone", 'zone = "Asia/Tehran"', ZoneInfo("UTC")),
        calendar=crm.take("calendar", checks.words, "the name of a calendar", 'calendar = "gregorian"', "gregorian"),
        user=crm.take("user", checks.words, "a user's name, e-mail or id", 'user = "ada"', None),
        reporting_currency=reporting,
        rates=_rates(top.table("rates"), reporting),
        policies=_policies(top.table("policies")),
        fields=_own_fields(top.table("fields")),
        pipelines=_pipelines(top.tables("pipelines")),
        plugins_enabled=plugins.take("enabled", checks.list_of_words, _NAMES, 'enabled = ["kpi"]', None),
        plugins_disabled=plugins.take("disabled", checks.list_of_words, _NAMES, 'disabled = ["kpi"]', ()),
        plugins_order=plugins.take("order", checks.list_of_words, _NAMES, 'order = ["products", "kpi"]', ()),
        plugins_paths=plugins.take(
            "paths", checks.list_of_words, "a list of Python files", 'paths = ["./my_hooks.py"]', ()
        ),
        slow_after=plugins.take("slow_after", checks.seconds, "seconds above 0", "slow_after = 5", 5.0),
        ledger_key=_ledger_key(ledger),
        channels=_channels(top.table("channels", secret=True)),
    )
    for table in (crm, plugins, ledger, top):
        table.end()
    return settings


def _ledger_key(table: Table) -> LedgerKey | None:
    found: dict[str, str] | None = table.take("key", checks.place_of_key, _KEY, 'key = {env = "CRM_LEDGER_KEY"}', None)
    return None if found is None else LedgerKey(**found)


def _channels(table: Table) -> Mapping[str, AccountSettings]:
    accounts = {}
    for name in tuple(table.content):
        if not _ACCOUNT.match(name):
            raise SettingsError(
                f"{table.file}: [channels.{name}] is no name of an account",
                hint="a name is made of a-z, 0-9, - and _, starts with a letter and has 60 characters at most",
            )
        account = table.table(name, secret=True)
        accounts[name] = AccountSettings(
            name=name,
            type=account.take("type", checks.words, "the name of a channel", 'type = "email"'),
            every=account.take("every", checks.seconds, "seconds between two polls", "every = 60", 60.0),
            per_minute=account.take("per_minute", checks.count, "messages, 0 for no limit", "per_minute = 30", 0),
            quiet_hours=account.take(
                "quiet_hours", checks.hours, "two times of day", 'quiet_hours = "21:00-08:00"', None
            ),
            options=MappingProxyType(account.content),
        )
    return MappingProxyType(accounts)


def _rates(table: Table, reporting: str | None) -> Mapping[date, Mapping[str, Decimal]]:
    rates: dict[date, Mapping[str, Decimal]] = {}
    for key, content in table.content.items():
        try:
            day = date.fromisoformat(key)
        except ValueError:
            raise table.wrong(
                repr(key), "is no day", "days, each with its rates", '"2026-01-01" = {USD = "0.92"}'
            ) from None
        on = Table(table.file, f'rates."{key}"', content)
        for code in tuple(on.content):
            if checks.not_currency(code):
                raise on.wrong(code, "is no currency", _CURRENCY, '"2026-01-01" = {USD = "0.92"}')
        rates[day] = MappingProxyType(
            {
                code: on.take(code, checks.rate, "a number above 0, as text", 'USD = "0.92"')
                for code in tuple(on.content)
            }
        )
    if rates and reporting is None:
        raise SettingsError(
            f"{table.file}: [rates] says what currencies are worth in a reporting currency, and there is none",
            hint='for example: [crm] reporting_currency = "EUR"',
        )
    return MappingProxyType(dict(sorted(rates.items())))


def _policies(table: Table) -> Mapping[str, Any]:
    chosen = {
        name: table.take(name, policy.check, policy.expected, policy.example, policy.default)
        for name, policy in POLICIES.items()
    }
    # A table under [policies] belongs to the plugin of that name, which knows its own keys.
    for name in [key for key, value in table.content.items() if isinstance(value, dict)]:
        chosen[name] = MappingProxyType(table.content.pop(name))
    table.end()
    return MappingProxyType(chosen)


def _own_fields(table: Table) -> Mapping[str, tuple[OwnField, ...]]:
    return MappingProxyType(
        {kind: tuple(_own_field(name, each) for name, each in table.tables(kind).items()) for kind in [*table.content]}
    )


def _own_field(name: str, table: Table) -> OwnField:
    if not _NAME.match(name):
        raise SettingsError(
            f"{table.file}: [{table.name}]: {name!r} is no name of a field",
            hint="a name is made of a-z, 0-9 and _, and starts with a letter; the label may be anything",
        )
    kinds = "one of " + ", ".join(FIELD_KINDS)
    field = OwnField(
        name=name,
        type=table.take("type", checks.one_of(*FIELD_KINDS), kinds, 'type = "text"'),
        label=table.take(
            "label", checks.words, "words for people", 'label = "Sector"', name.replace("_", " ").capitalize()
        ),
        help=table.take("help", checks.words, "a sentence", 'help = "What they make"', ""),
        choices=table.take("choices", checks.list_of_words, "a list of texts", 'choices = ["retail", "finance"]', ()),
        max_length=table.take("max_length", checks.count, "a whole number, 0 for no limit", "max_length = 400", 400),
        scale=table.take("scale", checks.count, "digits after the point", "scale = 2", 2),
        references=table.take("references", checks.words, "a record type", 'references = "customer"', ""),
        personal=table.take("personal", checks.flag, "true or false", "personal = true", default=False),
        indexed=table.take("indexed", checks.flag, "true or false", "indexed = true", default=False),
        was=table.take("was", checks.words, "the field's former name", 'was = "branch"', ""),
    )
    table.end()
    if (field.type == "reference") != bool(field.references):
        raise SettingsError(
            f'{table.file}: [{table.name}]: type = "reference" and references = "..." go together',
            hint='for example: type = "reference", references = "customer"',
        )
    return field


def _pipelines(tables: Mapping[str, Table]) -> Mapping[str, Mapping[str, Any]]:
    pipelines = {}
    for name, table in tables.items():
        stages = table.take("stages", checks.list_, "a list of stages", _STAGES)
        pipelines[name] = MappingProxyType(
            {
                "label": table.take("label", checks.words, "words for people", 'label = "Sales"', name),
                "on_won": table.take(
                    "on_won", checks.one_of("sale", "nothing"), "sale or nothing", 'on_won = "sale"', "sale"
                ),
                "stages": tuple(_stage(table, number, each) for number, each in enumerate(stages, 1)),
            }
        )
        table.end()
        if not stages:
            raise table.wrong("stages", "is empty", "one stage at least", _STAGES)
        names = [stage["name"] for stage in pipelines[name]["stages"]]
        if twice := [each for at, each in enumerate(names) if each in names[:at]]:
            raise table.wrong("stages", f"names {twice[0]!r} twice", "a name of its own for each stage", _STAGES)
    return MappingProxyType(pipelines)


def _stage(pipeline: Table, number: int, content: object) -> Mapping[str, Any]:
    where = f"{pipeline.name}.stages, number {number}"
    table = Table(pipeline.file, where, content, hint=f"for example: {_STAGES}")
    stage = {
        "name": table.take("name", checks.words, "a name", _STAGES),
        "label": table.take("label", checks.words, "words for people", 'label = "Won"', ""),
        "kind": table.take("kind", checks.one_of("open", "won", "lost"), "open, won or lost", 'kind = "won"', "open"),
        "probability": table.take(
            "probability", checks.probability, "0 to 1, as text", 'probability = "0.25"', Decimal(0)
        ),
    }
    table.end()
    return MappingProxyType(stage)
