"""The contract as plain data: `python -m tests.host.contract` declares a change of it by writing contract.json anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import attrs

from crm_core import hookspecs
from crm_core.host import CONTRACT, Hook

FILE = Path(__file__).with_name("contract.json")


def contract() -> dict[str, Any]:
    """What plugins rely on: hooks with their policies, the fields of events and of what is handed over."""
    kinds = {kind for hook in CONTRACT.values() for kind in (*hook.returns, *_event(hook)) if attrs.has(kind)}
    return {
        "hook_api": hookspecs.HOOK_API_VERSION,
        "hooks": {
            hook.name: {
                "family": hook.family,
                "policy": hook.policy,
                "parameters": list(hook.parameters),
                "events": [kind.__name__ for kind in _event(hook)],
                "returns": [kind.__name__ for kind in hook.returns],
            }
            for hook in CONTRACT.values()
        },
        "fields": {kind.__name__: _fields(kind) for kind in sorted(kinds | _inside(), key=lambda kind: kind.__name__)},
    }


def _event(hook: Hook) -> list[type]:
    hints = get_type_hints(getattr(hookspecs.FAMILIES[hook.family], hook.name))
    return [get_origin(hints[name]) or hints[name] for name in hook.parameters]


def _inside() -> set[type]:
    from crm_core import events, extend

    modules = (events, extend)
    return {
        value
        for module in modules
        for name in module.__all__
        if isinstance(value := getattr(module, name), type) and attrs.has(value)
    }


def _fields(kind: type) -> dict[str, str]:
    """Each field's type; a field without a default is marked, since adding one breaks who builds the object."""
    return {
        field.name: f"{field.type}{' (required)' if field.default is attrs.NOTHING else ''}"
        for field in attrs.fields(kind)
    }


def text() -> str:
    return json.dumps(contract(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
