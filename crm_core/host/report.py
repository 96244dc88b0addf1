"""What the host tells the floors above: plain data about plugins, what they handed over, and how they behave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from crm_core.events import OriginKind

Status = Literal["active", "disabled", "incompatible", "broken"]


@attrs.frozen(kw_only=True)
class HookStats:
    """How one plugin did in one hook since the host was opened; `seconds` is the time in the plugin's code, in all."""

    hook: str
    calls: int
    seconds: float
    failures: int


@attrs.frozen(kw_only=True)
class PluginInfo:
    """A plugin as `crm plugins list` shows it; `reason` says in one line why it is not active.

    `distribution` names the installed distribution; for a developer's own code it is the plugin's name, with an
    empty `version`. `place` is where its code is. `hooks` come from the manifest, so the plugin need not be `loaded`.
    """

    name: str
    distribution: str
    version: str
    status: Status
    reason: str
    hint: str
    place: str
    hooks: tuple[str, ...]
    commands: tuple[str, ...]
    loaded: bool
    import_seconds: float
    timings: tuple[HookStats, ...]

    @property
    def calls(self) -> int:
        """How often its hooks were called."""
        return sum(stats.calls for stats in self.timings)

    @property
    def seconds(self) -> float:
        """The time spent in its hooks."""
        return sum(stats.seconds for stats in self.timings)

    @property
    def failures(self) -> int:
        """How often its hooks failed."""
        return sum(stats.failures for stats in self.timings)

    @property
    def title(self) -> str:
        """The distribution and its version, as errors name them."""
        return title(self.distribution, self.version)


@attrs.frozen(kw_only=True)
class Explanation:
    """What `crm plugins explain` prints of one plugin: facts by label, and the last failure with its traceback."""

    info: PluginInfo
    facts: tuple[tuple[str, str], ...]
    traceback: str


@attrs.frozen(kw_only=True)
class Collected:
    """A descriptor and who handed it over."""

    item: Any
    plugin: str
    distribution: str
    version: str


@attrs.frozen(kw_only=True)
class Subscriber:
    """One `on_*` implementation: `include` are the opt-in origins it asked for; `call` raises `PluginError`."""

    plugin: str
    hook: str
    include: frozenset[OriginKind]
    call: Callable[[Any], None]


def title(distribution: str, version: str) -> str:
    """Return how errors name a distribution: "crm-kpi 0.1.0", or "my_hooks (your own code)"."""
    return f"{distribution} {version}" if version else f"{distribution} (your own code)"
