"""The contract changes only by declaration, and the host knows every hook of it."""

from __future__ import annotations

import inspect
import json

import pytest

from crm_core.hookspecs import FAMILIES
from crm_core.host import CONTRACT, Hook
from crm_core.host.names import _NAMES

from .contract import FILE, contract
from .samples import ANSWERS, HOOKS


def test_the_contract_is_the_one_declared() -> None:
    declared = json.loads(FILE.read_text("utf-8"))
    assert declared == contract(), "plugins see it: declare it by `python -m tests.host.contract` and in CHANGELOG.md"


def test_every_function_of_the_contract_is_a_hook() -> None:
    functions = [name for family in FAMILIES.values() for name, f in vars(family).items() if inspect.isfunction(f)]
    assert functions == list(CONTRACT)


def test_every_collected_hook_has_names_to_collide_by() -> None:
    assert {hook.name for hook in HOOKS if hook.policy == "collect"} == set(_NAMES)


def test_every_hook_has_a_sample() -> None:
    assert set(CONTRACT) == set(ANSWERS)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_policy_follows_from_the_name(hook: Hook) -> None:
    prefixes = {"register": "collect", "prepare": "derive", "before": "veto", "on": "deliver", "choose": "first"}
    assert prefixes[hook.name.partition("_")[0]] == hook.policy
    assert hook.doc
    assert (() if hook.policy == "collect" else ("event",)) == hook.parameters
