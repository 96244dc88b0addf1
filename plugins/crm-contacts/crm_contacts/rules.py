"""What a team may choose: `[policies.contacts]` of `crm.toml`, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import attrs

from crm_core.errors import SettingsError

TABLE: Final = "contacts"
EMAIL_RULES: Final = ("plus", "gmail")
WEIGHTS: Final[Mapping[str, int]] = MappingProxyType(
    {"email": 90, "phone": 80, "account": 90, "external": 95, "name": 75, "same_name": 40}
)
"""How sure each reason alone makes that two customers are one, in percent.

`name` is a name alike in the same city or company, `same_name` a name alike without that.
"""


@attrs.frozen(kw_only=True)
class Rules:
    """The choices, with their defaults.

    `country` is where numbers without a country code belong when the customer's country is unknown. `email` rules:
    "plus" drops +tags everywhere, "gmail" also the dots of Gmail's addresses. `min_score` is from which score pairs are
    shown, `merge_score` from which `--merge` takes them. `alike` is how much two names must be alike, in percent.
    `same_ids` names systems that number customers alike; `keys` are own fields of customers that tell them apart.
    """

    country: str | None = None
    email: tuple[str, ...] = ()
    min_score: int = 60
    merge_score: int = 90
    alike: int = 85
    weights: Mapping[str, int] = WEIGHTS
    same_ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def rules_of(policies: Mapping[str, Any]) -> Rules:
    """Read the rules from the policies of the settings.

    Raises:
        SettingsError: a key is not known, or its value is not what it should be.
    """
    table = dict(policies.get(TABLE, {}))
    weights = table.pop("weights", {})
    if not isinstance(weights, Mapping):
        raise _wrong("weights", weights, "a table", "weights = {email = 90}")
    for name, value in weights.items():
        if name not in WEIGHTS:
            raise SettingsError(
                f"[policies.{TABLE}.weights] has no key {name!r}", hint=f"known here: {', '.join(WEIGHTS)}"
            )
        _taken(f"weights.{name}", value, *_PERCENT)
    for name, value in table.items():
        if name not in _CHECKS:
            raise SettingsError(
                f"[policies.{TABLE}] has no key {name!r}", hint=f"known here: {', '.join([*_CHECKS, 'weights'])}"
            )
        _taken(name, value, *_CHECKS[name])
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    return Rules(**given, weights=MappingProxyType({**WEIGHTS, **weights}))


def _taken(name: str, value: Any, check: Callable[[Any], bool], expected: str, example: str) -> None:
    if not check(value):
        raise _wrong(name, value, expected, f"{name} = {example}")


def _wrong(name: str, value: Any, expected: str, example: str) -> SettingsError:
    shown = f"{value:f}" if isinstance(value, Decimal) else repr(value)
    return SettingsError(f"[policies.{TABLE}] {name} is {shown}; expected {expected}", hint=f"for example: {example}")


def _is_percent(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each.strip() for each in value)


def _is_country(value: Any) -> bool:
    from crm_contacts.countries import region_of

    return isinstance(value, str) and region_of(value) is not None


def _are_email_rules(value: Any) -> bool:
    return _are_texts(value) and set(value) <= set(EMAIL_RULES)


_PERCENT: Final = (_is_percent, "a whole number from 0 to 100", "85")
_CHECKS: Final[Mapping[str, tuple[Callable[[Any], bool], str, str]]] = {
    "country": (_is_country, "a country by its code or name", '"AM"'),
    "email": (_are_email_rules, f"a list of {' and '.join(EMAIL_RULES)}", '["plus"]'),
    "min_score": _PERCENT,
    "merge_score": _PERCENT,
    "alike": _PERCENT,
    "same_ids": (_are_texts, "a list of systems of external ids", '["shop", "erp"]'),
    "keys": (_are_texts, "a list of fields of customers", '["fields.vat_id"]'),
}
