"""Writes docs/contract.md from the hook specifications and their users: `python -m tests.docs.contract_page`.

It stands outside the kernel because the examples of use are the code of this repository's own plugins and examples.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import attrs

from crm_core import events, extend
from crm_core.hookspecs import FAMILIES, HOOK_API_VERSION
from crm_core.host.contract import CONTRACT, Hook

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "contract.md"
_POLICIES = {
    "collect": (
        "Called once, on first use; hands over descriptors, or classes.",
        "the plugin is marked broken, named in one line, and left out; the others run",
    ),
    "derive": (
        "Called inside the transaction, once per chunk; gives `Derived` values of the plugin's own fields.",
        "the rows of the chunk are refused, and the error names the plugin",
    ),
    "veto": (
        "Called inside the transaction, once per chunk, with the records as they will be stored; gives `Veto`es. It "
        "judges and does nothing else: the transaction may yet be rolled back.",
        "the rows of the chunk are refused, and the error names the plugin",
    ),
    "deliver": (
        "Called after the commit, in ledger order, at least once. What comes of imports, undo and merges is delivered "
        'to who asks for it: `@hookimpl(include=("import", "undo", "merge"))`.',
        "it is tried again after 1, 10, 60 and 600 seconds, then parked and shown; other plugins are not affected",
    ),
    "first": (
        "Called on demand; the first answer that is not None counts.",
        "the question fails, and the error names the plugin",
    ),
}
_INTRODUCTION = """\
# The plugin contract

Every hook that a plugin may implement, version {version} of the contract. This page is generated from
`crm_core/hookspecs.py` and from the plugins and examples that use it; a hook without a user does not ship.

A hook takes `self` and at most one `event`, a frozen object, so that a new field never breaks a signature.
Events carry batches. A plugin is an object with methods, or a module with functions, marked with
`crm_core.hookimpl`: exactly these names and parameters, without defaults; a misspelt one is refused, with the
name that was meant.
"""
_SPOKEN = (
    *(extend.ChannelAccount, extend.Address, extend.Attachment, extend.IncomingMessage, extend.OutgoingMessage),
    *(extend.Received, extend.Receipt, extend.StatusReceipt, extend.WebhookRequest),
)
_SHARED = (events.Change, events.ChangedRecord, events.Origin, events.Veto, events.Derived)


def page() -> str:
    """Return the page."""
    return "\n".join([*_introduction(), *_hooks(), *_shared(), *_descriptors(), *_channels()]).rstrip() + "\n"


def users() -> Mapping[str, list[str]]:
    """Return who implements each hook, by the manifests of plugins and examples and by the example without one."""
    found: dict[str, list[str]] = {hook: [] for hook in CONTRACT}
    for manifest in _manifests():
        for hook in tomllib.loads(manifest.read_text("utf-8"))["hooks"]:
            found.setdefault(hook, []).append(manifest.parent.parent.name)
    for file in _own_files():
        for hook in _implementations(file):
            found.setdefault(hook, []).append(file.parent.name)
    return found


def _introduction() -> Iterator[str]:
    yield _INTRODUCTION.format(version=HOOK_API_VERSION)
    yield "| policy | how the host calls it | what a failure does |"
    yield "|---|---|---|"
    for policy, (how, failure) in _POLICIES.items():
        yield f"| {policy} | {how} | {failure} |"
    yield ""
    yield "| hook | family | policy | event |"
    yield "|---|---|---|---|"
    for hook in CONTRACT.values():
        yield f"| [`{hook.name}`](#{hook.name}) | {hook.family} | {hook.policy} | {_event_name(hook)} |"
    yield ""


def _hooks() -> Iterator[str]:
    using = users()
    for name, family in FAMILIES.items():
        doc = (inspect.getdoc(family) or "").rstrip(".")
        yield f"## {name.capitalize()} hooks"
        yield ""
        yield f"{doc.partition(': ')[2].capitalize() or doc}."
        yield ""
        for hook in CONTRACT.values():
            if hook.family == name:
                yield from _hook(hook, using[hook.name])


def _hook(hook: Hook, using: list[str]) -> Iterator[str]:
    function = getattr(FAMILIES[hook.family], hook.name)
    signature = inspect.signature(function)
    yield f"### {hook.name} {{ #{hook.name} }}"
    yield ""
    yield hook.doc
    yield ""
    yield "```python"
    yield f"def {hook.name}{signature}".replace("'", "")
    yield "```"
    yield ""
    how, failure = _POLICIES[hook.policy]
    yield f"- Policy **{hook.policy}**. {how}"
    yield f"- If it fails, {failure}."
    event = _event(hook)
    if event is not None and event not in (events.Changing, events.Changed):
        yield f"- `{event.__name__}` carries {_listed(event)}."
    elif event is not None:
        yield f"- The event carries {_listed(event)}; see [what events carry](#what-events-carry)."
    handed = [kind.__name__ for kind in hook.returns if kind in _handed_over()]
    if handed:
        yield f"- It hands over [`{handed[0]}`](#{handed[0].lower()})s."
    yield f"- Used by {', '.join(f'`{one}`' for one in sorted(using)) or 'nobody'}."
    yield ""
    yield from _example(hook.name)


def _example(hook: str) -> Iterator[str]:
    for file in _sources():
        found = _implementations(file).get(hook)
        if found:
            yield "```python"
            yield found
            yield "```"
            yield ""
            yield f"From `{file.relative_to(ROOT).as_posix()}`."
            yield ""
            return


def _shared() -> Iterator[str]:
    yield "## What events carry { #what-events-carry }"
    yield ""
    for cls in (events.Changing, events.Changed, *_SHARED):
        yield from _class(cls, "###")


def _descriptors() -> Iterator[str]:
    yield "## What plugins hand over"
    yield ""
    for cls in _handed_over():
        yield from _class(cls, "###")


def _channels() -> Iterator[str]:
    yield "## What channels speak in { #what-channels-speak-in }"
    yield ""
    yield "### Channel { #channel }"
    yield ""
    yield inspect.getdoc(extend.Channel) or ""
    yield ""
    for name in ("send", "poll", "listen", "parse", "check", "close"):
        method = getattr(extend.Channel, name)
        yield "```python"
        yield f"def {name}{inspect.signature(method)}".replace("'", "")
        yield "```"
        yield ""
        yield inspect.getdoc(method) or ""
        yield ""
    for cls in _SPOKEN:
        yield from _class(cls, "###")


def _class(cls: type, level: str) -> Iterator[str]:
    yield f"{level} {cls.__name__} {{ #{cls.__name__.lower()} }}"
    yield ""
    yield inspect.getdoc(cls) or ""
    yield ""
    yield "| field | type | default |"
    yield "|---|---|---|"
    for field in attrs.fields(cls):
        kind = str(field.type).replace("|", "\\|")
        default = "required" if field.default is attrs.NOTHING else _default(field.default)
        yield f"| `{field.name}` | `{kind}` | {default} |"
    yield ""


def _default(value: Any) -> str:
    return "empty" if value in ("", ()) or not isinstance(value, str | int | tuple | None) else f"`{value}`"


def _handed_over() -> list[type]:
    kinds = [kind for hook in CONTRACT.values() if hook.policy == "collect" for kind in hook.returns]
    return sorted({kind for kind in kinds if attrs.has(kind)} | {extend.Stage}, key=lambda kind: kind.__name__)


def _event(hook: Hook) -> type | None:
    if not hook.parameters:
        return None
    namespace = {**vars(events), "date": date}
    hints = get_type_hints(getattr(FAMILIES[hook.family], hook.name), localns=namespace)
    event = hints[hook.parameters[0]]
    found: type = get_origin(event) or event
    return found


def _event_name(hook: Hook) -> str:
    if not hook.parameters:
        return ""
    annotation = inspect.signature(getattr(FAMILIES[hook.family], hook.name)).parameters[hook.parameters[0]].annotation
    return f"`{annotation}`"


def _listed(cls: type) -> str:
    return ", ".join(f"`{field.name}`" for field in attrs.fields(cls))


def _manifests() -> list[Path]:
    return sorted([*ROOT.glob("plugins/*/*/crm-plugin.toml"), *ROOT.glob("examples/*/*/crm-plugin.toml")])


def _own_files() -> list[Path]:
    return sorted(ROOT.glob("examples/*/my_hooks.py"))


def _sources() -> list[Path]:
    """Return where examples of use are taken from, the plainest first."""
    return [*_own_files(), *sorted(ROOT.glob("examples/*/*/plugin.py")), *sorted(ROOT.glob("plugins/*/*/plugin.py"))]


def _implementations(file: Path) -> dict[str, str]:
    """Return the source of each function marked as an implementation, by name."""
    text = file.read_text("utf-8")
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and any("hookimpl" in ast.unparse(one) for one in node.decorator_list):
            first = min(one.lineno for one in node.decorator_list) - 1
            lines = text.splitlines()[first : node.end_lineno]
            found[node.name] = textwrap.dedent("\n".join(lines))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
