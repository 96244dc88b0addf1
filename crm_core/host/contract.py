"""The contract as data: what `hookspecs.py` declares, by hook name, for checks, dispatch and documents."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, get_args, get_type_hints

import attrs

from crm_core.hookspecs import FAMILIES, HookPolicy, Policy


@attrs.frozen(kw_only=True)
class Hook:
    """One hook: `parameters` are the names after `self`; `returns` is what an answer is made of, empty for none."""

    name: str
    family: str
    policy: Policy
    parameters: tuple[str, ...]
    returns: tuple[type, ...]
    doc: str

    @property
    def signature(self) -> str:
        """How an implementation is written."""
        return f"{self.name}({', '.join(('self', *self.parameters))})"


def unknown_hook(name: str) -> str:
    """Say that the contract has no hook of that name, with the nearest one that it has."""
    close = get_close_matches(name, CONTRACT, 1, 0.7)
    return f"the contract has no hook {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _hook(family: str, name: str, function: object) -> Hook | None:
    declared = getattr(function, "__crm_hook__", None)
    if not isinstance(declared, HookPolicy) or not inspect.isfunction(function):
        return None
    returns: tuple[type, ...] = (declared.returns,) if declared.returns else ()
    if declared.policy == "first":
        answer = get_type_hints(function)["return"]
        returns = tuple(kind for kind in get_args(answer) or (answer,) if kind is not type(None))
    parameters = tuple(inspect.signature(function).parameters)[1:]
    return Hook(
        name=name,
        family=family,
        policy=declared.policy,
        parameters=parameters,
        returns=returns,
        doc=inspect.getdoc(function) or "",
    )


CONTRACT: Final[Mapping[str, Hook]] = MappingProxyType(
    {
        name: hook
        for family, group in FAMILIES.items()
        for name, function in vars(group).items()
        if (hook := _hook(family, name, function)) is not None
    }
)
"""Every hook of the contract by name, in the order of `hookspecs.py`."""
