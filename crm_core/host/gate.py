"""Who may come in, judged before anything of a plugin is imported: settings, hook API, kernel range, manifest."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

import attrs

import crm_core
from crm_core.hookspecs import HOOK_API_VERSION
from crm_core.host.discover import Candidate, canonical
from crm_core.host.manifest import unknown_hooks
from crm_core.host.report import Status
from crm_core.settings import Settings

KERNEL: Final = "crm-core"


@attrs.frozen
class Verdict:
    """What the gate decided, why in one line, and what to do about it."""

    status: Status
    reason: str = ""
    hint: str = ""


def judge(candidate: Candidate, settings: Settings) -> Verdict:
    """Decide on one plugin."""
    names = {candidate.name, canonical(candidate.distribution)}
    if names & {canonical(each) for each in settings.plugins_disabled} or names & set(settings.plugins_disabled):
        return Verdict("disabled", "disabled in crm.toml", f"take {candidate.name!r} out of [plugins] disabled")
    if candidate.is_own:
        return Verdict("active")
    if settings.plugins_enabled is not None and not names & set(settings.plugins_enabled):
        return Verdict("disabled", "not among [plugins] enabled in crm.toml", f"add {candidate.name!r} to it")
    outside = _kernel_range(candidate)
    if outside:
        hint = f"pip install --upgrade {candidate.distribution}, or a {KERNEL} within that range"
        return Verdict("incompatible", outside, hint)
    write = f"its author runs `crm plugins manifest --write {candidate.package}`"
    if candidate.manifest is None:
        return Verdict("broken", candidate.fault, write)
    if candidate.manifest.hook_api != HOOK_API_VERSION:
        return Verdict(
            "incompatible",
            f"speaks hook API {candidate.manifest.hook_api}, this {KERNEL} speaks {HOOK_API_VERSION}",
            f"pip install --upgrade {candidate.distribution} {KERNEL}",
        )
    if unknown := unknown_hooks(candidate.manifest):
        return Verdict("broken", f"names a hook in its manifest that is not there: {unknown}", write)
    return Verdict("active")


def _kernel_range(candidate: Candidate) -> str:
    """Say how the kernel lies outside the range that the distribution requires; empty when it does not."""
    for text in candidate.requires:
        if not canonical(text).startswith(KERNEL):
            continue
        simple = _SIMPLE.fullmatch(text)
        specifiers = simple["specifiers"].replace(" ", "") if simple else ""
        inside = _within(specifiers) if simple and canonical(simple["name"]) == KERNEL else None
        if inside is None:
            try:
                specifiers, inside = _with_packaging(text)
            except ValueError:
                return f"has a requirement that cannot be read: {text!r}"
        if not inside:
            return f"needs {KERNEL} {specifiers}, this is {KERNEL} {crm_core.__version__}"
    return ""


def _within(specifiers: str) -> bool | None:
    """Compare plain releases, which is nearly always all there is; None when it takes more than that.

    `packaging` would cost every command 0.1 s.
    """
    if not re.fullmatch(r"[0-9.]+", crm_core.__version__):
        return None
    mine = _release(crm_core.__version__)
    for specifier in filter(None, specifiers.split(",")):
        match = _PLAIN.fullmatch(specifier)
        if match is None:
            return None
        if not _COMPARE[match[1]](mine, _release(match[2])):
            return False
    return True


def _with_packaging(text: str) -> tuple[str, bool]:
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if canonical(requirement.name) != KERNEL or not applies:
        return "", True
    inside = requirement.specifier.contains(crm_core.__version__, prereleases=True)
    return str(requirement.specifier), inside


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.strip(".").split(".")]
    while numbers and numbers[-1] == 0:  # 0.2 and 0.2.0 are one release
        numbers.pop()
    return tuple(numbers)


_SIMPLE: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+) *\(?(?P<specifiers>[^();\[\]]*)\)?")
_PLAIN: Final = re.compile(r"(>=|<=|==|!=|>|<)([0-9]+(?:\.[0-9]+)*)")
_COMPARE: Final[dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
