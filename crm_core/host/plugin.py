"""A plugin while the host runs it: the candidate, what became of it, its implementations and their figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from crm_core.errors import PluginError
from crm_core.events import OriginKind
from crm_core.extend import Command
from crm_core.host.contract import Hook
from crm_core.host.discover import Candidate
from crm_core.host.report import HookStats, PluginInfo, Status, title

if TYPE_CHECKING:
    from crm_core.host.watchdog import Watchdog


@attrs.define(eq=False)
class Implementation:
    """One hook of one plugin: `many` answers or one, watched when it runs inside transactions.

    `running` holds, by thread, when the call under way began. The figures are added up without a lock: threads that
    call at once may lose a count, never a call.
    """

    plugin: Plugin
    hook: Hook
    function: Any
    include: frozenset[OriginKind]
    many: bool = False
    watchdog: Watchdog | None = None
    calls: int = 0
    seconds: float = 0.0
    failures: int = 0
    running: dict[int, float] = attrs.field(factory=dict)

    def failed(self, what: str, error: BaseException | None = None) -> PluginError:
        """Build the error of this hook."""
        made = self.plugin.error(what, hook=self.hook.name)
        made.__cause__ = error
        return made


@attrs.define(eq=False)
class Plugin:
    """One plugin of one host; `required` ones were named by settings or code, and fail hard."""

    candidate: Candidate
    status: Status = "active"
    reason: str = ""
    hint: str = ""
    required: bool = False
    hooks: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    loaded: bool = False
    import_seconds: float = 0.0
    implementations: dict[str, Implementation] = attrs.field(factory=dict)
    traceback: str = ""
    _signature: PluginInfo | None = None

    @property
    def name(self) -> str:
        """The name, unique among the active plugins of a host."""
        return self.candidate.name

    @property
    def title(self) -> str:
        """The distribution and version, as errors name them."""
        return title(self.candidate.distribution, self.candidate.version)

    @property
    def active(self) -> bool:
        """Whether it takes part."""
        return self.status == "active"

    def error(self, what: str, *, hook: str = "", hint: str = "", kind: type[PluginError] = PluginError) -> PluginError:
        """Build an error that says what failed, whose it is, and what to run next.

        Args:
            what: what the plugin did or is, to be read after its name.
            hook: the hook it happened in.
            hint: what to do; the general advice when empty.
            kind: the class of the error.
        """
        return kind(f"{self.lead}{what}", plugin=self.name, hook=hook, hint=hint or self._advice)

    @property
    def _advice(self) -> str:
        if self.candidate.own is not None:
            return "correct it, or leave it out of CRM.open(plugins=...)"
        # The command, not the setting: that has no place beside the short form `plugins = ["./my_hooks.py"]`.
        return f"run `crm plugins explain {self.name}`; to go on without it: `crm plugins detach {self.name}`"

    @property
    def lead(self) -> str:
        """How every error of the plugin begins."""
        return f"plugin {self.name!r} of {self.title} "

    def signature(self) -> PluginInfo:
        """Return whose an answer is; made at the first one, with the figures of then, since each would cost 6 us."""
        if self._signature is None:
            self._signature = self.info()
        return self._signature

    def info(self) -> PluginInfo:
        """Return what the floors above may know of it."""
        return PluginInfo(
            name=self.name,
            distribution=self.candidate.distribution,
            version=self.candidate.version,
            status=self.status,
            reason=self.reason,
            hint=self.hint,
            place=self.candidate.place,
            hooks=self.hooks,
            commands=tuple(command.name for command in self.commands),
            loaded=self.loaded,
            import_seconds=self.import_seconds,
            timings=tuple(
                HookStats(hook=each.hook.name, calls=each.calls, seconds=each.seconds, failures=each.failures)
                for each in self.implementations.values()
            ),
        )
