"""The host of one CRM: which plugins take part, what they hand over, and how their hooks are called by policy.

It walks the implementations itself: pluggy's caller stops at the first raise, lets SystemExit through and lets wrappers
swallow results.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import crm_core
from crm_core.errors import PluginCollision, PluginError, PluginMissing
from crm_core.events import Derived, Veto
from crm_core.extend import Command
from crm_core.host import discover, load, manifest
from crm_core.host.contract import CONTRACT
from crm_core.host.dispatch import ask, ask_first, check_indexes
from crm_core.host.gate import KERNEL, judge
from crm_core.host.names import Names, names_of
from crm_core.host.plugin import Implementation, Plugin
from crm_core.host.report import Collected, Explanation, PluginInfo, Subscriber
from crm_core.host.watchdog import Watchdog
from crm_core.settings import Settings

if TYPE_CHECKING:
    from crm_core.host.registry import HookRegistry

STRICT_VARIABLE: Final = "CRM_STRICT_PLUGINS"
logger = logging.getLogger("crm_core.host")


class Host:
    """The plugins of one CRM. Several hosts live in one process, and several threads may share one."""

    def __init__(self, settings: Settings, plugins: Iterable[Plugin], *, tolerant: bool = False) -> None:
        """Use `Host.open`."""
        order = {name: place for place, name in enumerate(settings.plugins_order)}
        self._plugins = sorted(
            plugins, key=lambda p: (order.get(p.name, len(order)), p.name, p.candidate.distribution, p.candidate.place)
        )
        self._tolerant = tolerant
        self._strict = os.environ.get(STRICT_VARIABLE, "") not in ("", "0")
        self._lock = RLock()
        self._names = Names()
        self._listening: dict[str, list[Plugin]] = {}
        self._ready: dict[str, tuple[Implementation, ...]] = {}
        self._collected: dict[str, list[tuple[Plugin, Collected]]] = {}
        self._collecting: set[str] = set()
        self._watchdog = Watchdog(settings.slow_after, self._in_transactions)

    @classmethod
    def open(cls, settings: Settings, plugins: Sequence[object] = (), *, tolerant: bool = False) -> Host:
        """Find the plugins and judge them; code of installed ones is imported when a hook of theirs is first used.

        Args:
            settings: which plugins run, in what order, and files of the team's own hooks.
            plugins: a developer's own objects or modules with hooks.
            tolerant: report what would otherwise raise, for `crm plugins list` and `crm doctor`.

        Raises:
            PluginMissing: the settings name a plugin or a file that is not there.
            PluginError: a plugin that settings or code name is no good; with CRM_STRICT_PLUGINS=1, any plugin.
        """
        installed = [Plugin(candidate) for candidate in discover.installed()]
        own = discover.own_files(settings.plugins_paths, settings.directory) + discover.own_objects(plugins)
        host = cls(settings, [*installed, *(Plugin(each, required=True) for each in own)], tolerant=tolerant)
        host._admit(settings)
        return host

    def collect(self, hook: str) -> list[Collected]:
        """Return what the plugins hand over in a `register_*` hook, in order; asked once, then remembered.

        A plugin that fails is marked broken and left out.
        """
        with self._lock:
            if hook not in self._collected:
                if hook in self._collecting:
                    raise PluginError(f"{hook} is asked for while plugins answer it", hook=hook)
                self._collecting.add(hook)
                try:
                    self._collected[hook] = [each for each in self._collect(hook) if each[0].active]
                finally:
                    self._collecting.discard(hook)
            return [collected for _, collected in self._collected[hook]]

    def derive(self, hook: str, event: Any) -> list[tuple[PluginInfo, Derived]]:
        """Return the values that plugins set on the changes of an event.

        Raises:
            PluginError: an implementation failed, or set fields that are not its own; the rows must be refused.
        """
        answers: list[tuple[PluginInfo, Derived]] = []
        for implementation in self._implementations(hook):
            derived = ask(implementation, event)
            if derived:
                check_indexes(implementation, derived, event)
                self._check_own(implementation, derived)
                info = implementation.plugin.signature()
                answers += [(info, each) for each in derived]
        return answers

    def veto(self, hook: str, event: Any) -> list[tuple[PluginInfo, Veto]]:
        """Return the refusals of changes of an event.

        Raises:
            PluginError: an implementation failed; the rows must be refused.
        """
        answers: list[tuple[PluginInfo, Veto]] = []
        for implementation in self._implementations(hook):
            vetoes = ask(implementation, event)
            if vetoes:
                check_indexes(implementation, vetoes, event)
                info = implementation.plugin.signature()
                answers += [(info, each) for each in vetoes]
        return answers

    def first(self, hook: str, event: Any) -> Any | None:
        """Return the first answer that is not None.

        Raises:
            PluginError: an implementation failed.
        """
        for implementation in self._implementations(hook):
            answer = ask_first(implementation, event)
            if answer is not None:
                return answer
        return None

    def implements(self, hook: str) -> bool:
        """Whether any plugin listens, as the manifests say: nothing is imported."""
        return bool(self._listening[hook])

    def subscribers(self, hook: str) -> list[Subscriber]:
        """Return the implementations of an `on_*` hook, to be called by the ledger."""
        return [
            Subscriber(plugin=each.plugin.name, hook=hook, include=each.include, call=functools.partial(_deliver, each))
            for each in self._implementations(hook)
        ]

    def plugins(self) -> list[PluginInfo]:
        """Return every plugin there is, in the order in which they are called."""
        return [plugin.info() for plugin in self._plugins]

    def commands(self) -> list[Command]:
        """Return the commands that plugins add to `crm`, by name, as the manifests say: nothing is imported."""
        found = [command for plugin in self._plugins if plugin.active for command in plugin.commands]
        return sorted(found, key=lambda command: command.name)

    def owners(self) -> dict[str, str]:
        """Return the version of each distribution that takes part, the kernel's included."""
        active = {p.candidate.distribution: p.candidate.version for p in self._plugins if p.active}
        return {KERNEL: crm_core.__version__, **active}

    def require(self, name: str) -> PluginInfo:
        """Return a plugin that a setting or a command cannot do without.

        Raises:
            PluginMissing: it is not installed.
            PluginError: it is not active; the message says why.
        """
        plugin = self._find(name)
        if not plugin.active:
            raise plugin.error(f"is {plugin.status}: {plugin.reason}", hint=plugin.hint)
        return plugin.info()

    def absent(self, hook: str) -> list[PluginInfo]:
        """Return the plugins that would implement a hook, were they active; each has its reason."""
        return [plugin.info() for plugin in self._plugins if hook in plugin.hooks and not plugin.active]

    def check(self) -> list[PluginInfo]:
        """Import all active plugins, ask every `register_*` hook, compare manifests with code; return `plugins()`."""
        for plugin in [*self._plugins]:
            if plugin.active:
                self._load(plugin)
        for hook in CONTRACT.values():
            if hook.policy == "collect":
                self.collect(hook.name)
        handed = self.collect("register_commands")
        for plugin in [*self._plugins]:
            if plugin.active and plugin.candidate.manifest:
                coded = {each.item.name: each.item for each in handed if each.plugin == plugin.name}
                if coded != {command.name: command for command in plugin.commands}:
                    self._break(plugin, _stale(plugin, "the commands of its manifest are not those of its code"))
        return self.plugins()

    def explain(self, name: str) -> Explanation:
        """Return all there is to say of a plugin.

        Raises:
            PluginMissing: there is none of that name.
        """
        plugin = self._find(name)
        info = plugin.info()
        facts = [("plugin", info.name), ("distribution", info.title), ("status", info.status)]
        facts += [("why", info.reason)] if info.reason else []
        facts += [("what to do", info.hint)] if info.hint else []
        facts += [("place", info.place)]
        facts += [("requires", "; ".join(plugin.candidate.requires))] if plugin.candidate.requires else []
        for hook in info.hooks:
            known = CONTRACT.get(hook)
            facts.append(("hook", f"{hook} ({known.policy}, {known.family})" if known else f"{hook} (unknown)"))
        facts += [("command", f"crm {command}") for command in info.commands]
        facts += [("import", f"{info.import_seconds * 1000:.1f} ms")] if info.loaded else []
        facts += [
            ("calls", f"{each.hook}: {each.calls} in {each.seconds * 1000:.1f} ms, {each.failures} failed")
            for each in info.timings
            if each.calls
        ]
        return Explanation(info=info, facts=tuple(facts), traceback=plugin.traceback)

    @functools.cached_property
    def _registry(self) -> HookRegistry:
        # Made when the first plugin is imported: help and lists of plugins do without pluggy.
        from crm_core.host.registry import HookRegistry

        return HookRegistry()

    def _admit(self, settings: Settings) -> None:
        """Judge each plugin in order, before any is imported; own code, which is named, is loaded at once."""
        by_name: dict[str, Plugin] = {}
        for plugin in self._plugins:
            verdict = judge(plugin.candidate, settings)
            plugin.status, plugin.reason, plugin.hint = verdict.status, verdict.reason, verdict.hint
            plugin.required |= plugin.name in (settings.plugins_enabled or ())
            if plugin.candidate.manifest:
                plugin.hooks, plugin.commands = plugin.candidate.manifest.hooks, plugin.candidate.manifest.commands
            if plugin.status in ("broken", "incompatible"):
                self._complain(plugin, plugin.error(plugin.reason, hint=plugin.hint))
            if plugin.active:
                first = by_name.setdefault(plugin.name, plugin)
                self._claim_early(plugin, first)
        self._listen()
        for plugin in self._plugins:
            if plugin.active and plugin.candidate.is_own:
                self._load(plugin)
        self._check_settings(settings)

    def _claim_early(self, plugin: Plugin, first: Plugin) -> None:
        try:
            if first is not plugin:
                raise PluginCollision(
                    f"has the name of a plugin of {first.title}", hint="uninstall or rename one of the two"
                )
            self._names.claim(plugin, "command", [command.name for command in plugin.commands])
        except PluginError as error:
            self._break(plugin, error)

    def _check_settings(self, settings: Settings) -> None:
        """Complain of names in crm.toml that no plugin has: of `enabled` hard, of the others in one line."""
        known = {name for p in self._plugins for name in (p.name, p.candidate.distribution)}
        for name in settings.plugins_enabled or ():
            if name not in known and not self._tolerant:
                raise PluginMissing(
                    f"[plugins] enabled names {name!r}, which is not installed",
                    plugin=name,
                    hint=_did_you_mean(name, known) or f"install the distribution that has it, such as crm-{name}",
                )
        for key, names in (("disabled", settings.plugins_disabled), ("order", settings.plugins_order)):
            for name in names:
                if name not in known:
                    logger.warning(
                        "[plugins] %s names %r, which is not installed; %s", key, name, _did_you_mean(name, known)
                    )

    def _listen(self) -> None:
        """Work out anew who listens to what, after a plugin came or went."""
        active = [plugin for plugin in self._plugins if plugin.active]
        self._listening = {hook: [plugin for plugin in active if hook in plugin.hooks] for hook in CONTRACT}
        self._ready = {}

    def _implementations(self, hook: str) -> tuple[Implementation, ...]:
        ready = self._ready.get(hook)
        return ready if ready is not None else self._prepare(hook)

    def _prepare(self, hook: str) -> tuple[Implementation, ...]:
        with self._lock:
            for plugin in [*self._listening[hook]]:
                self._load(plugin)
            registered = frozenset(self._registry.names(hook))
            # Our order, by settings and then by name: pluggy's is that of registration, which imports decide.
            ready = tuple(p.implementations[hook] for p in self._listening[hook] if p.name in registered)
            self._ready[hook] = ready
            return ready

    def _load(self, plugin: Plugin) -> None:
        with self._lock:
            if plugin.loaded or not plugin.active:
                return
            start = perf_counter()
            try:
                code = _import(plugin)
                plugin.import_seconds = perf_counter() - start
                found = load.implementations(code)
                _compare(plugin, found)
                self._registry.admit(plugin.name, {hook: each.function for hook, each in found.items()})
                plugin.implementations = {
                    name: _implementation(plugin, each, self._watchdog) for name, each in found.items()
                }
                if plugin.candidate.is_own:
                    self._take_own(plugin)
                plugin.loaded = True
            except PluginError as error:
                plugin.loaded = True
                self._break(plugin, error)

    def _take_own(self, plugin: Plugin) -> None:
        """Ask a plugin without a manifest for what else a manifest says."""
        plugin.hooks = tuple(sorted(plugin.implementations))
        if "register_commands" in plugin.implementations:
            plugin.commands = ask(plugin.implementations["register_commands"])
            self._names.claim(plugin, *names_of(plugin, "register_commands", plugin.commands))
        self._listen()

    def _collect(self, hook: str) -> Iterator[tuple[Plugin, Collected]]:
        for implementation in self._implementations(hook):
            plugin = implementation.plugin
            candidate = plugin.candidate
            try:
                items = ask(implementation)
                self._names.claim(plugin, *names_of(plugin, hook, items))
            except PluginError as error:
                self._break(plugin, error)
                continue
            for item in items:
                yield (
                    plugin,
                    Collected(
                        item=item, plugin=plugin.name, distribution=candidate.distribution, version=candidate.version
                    ),
                )

    def _check_own(self, implementation: Implementation, derived: Iterable[Derived]) -> None:
        mine = implementation.plugin.candidate.distribution
        owners = {each.item: each.distribution for each in self.collect("register_fields")}
        for each in derived:
            owner = owners.get(type(each.values))
            if owner != mine:
                implementation.failures += 1
                whose = f"fields of {owner}" if owner else "no fields that a plugin registered"
                raise implementation.failed(
                    f"broke the contract of {implementation.hook.name}: it set {type(each.values).__name__}, {whose}"
                )

    def _break(self, plugin: Plugin, error: PluginError) -> None:
        """Mark a plugin broken and take all of it out."""
        with self._lock:
            plugin.status, plugin.hint = "broken", error.hint
            plugin.reason = error.message.removeprefix(plugin.lead)
            if plugin.implementations:
                self._registry.dismiss(plugin.name)
            self._names.release(plugin)
            self._collected = {
                hook: [each for each in kept if each[0] is not plugin] for hook, kept in self._collected.items()
            }
            self._listen()
        told = plugin.error(plugin.reason, hook=error.hook, hint=error.hint, kind=type(error))
        told.__cause__ = error.__cause__
        self._complain(plugin, told)

    def _complain(self, plugin: Plugin, error: PluginError) -> None:
        """Raise for a plugin that was named, or when asked to be strict; else warn in one line."""
        if (plugin.required or self._strict) and not self._tolerant:
            raise error
        logger.warning("%s; %s", error.message, error.hint)

    def _in_transactions(self) -> Iterable[Implementation]:
        return [
            each
            for plugin in self._plugins
            for each in [*plugin.implementations.values()]
            if each.watchdog is not None and each.running
        ]

    def _find(self, name: str) -> Plugin:
        wanted = [p for p in self._plugins if name in (p.name, p.candidate.distribution, p.candidate.package)]
        if not wanted:
            known = [plugin.name for plugin in self._plugins]
            hint = _did_you_mean(name, known) or f"installed are: {', '.join(known) or 'none'}"
            raise PluginMissing(f"no plugin {name!r} is installed", plugin=name, hint=hint)
        # Of two that share a name, the one that is no good is the one to be explained.
        return next((plugin for plugin in wanted if not plugin.active), wanted[0])


def _deliver(implementation: Implementation, event: Any) -> None:
    ask(implementation, event)


def _implementation(plugin: Plugin, found: load.Found, watchdog: Watchdog) -> Implementation:
    policy = found.hook.policy
    return Implementation(
        plugin,
        found.hook,
        found.function,
        found.include,
        many=policy in ("collect", "derive", "veto"),
        watchdog=watchdog if policy in ("derive", "veto") else None,
    )


def _import(plugin: Plugin) -> object:
    candidate = plugin.candidate
    if candidate.own is not None:
        return candidate.own
    if candidate.file is not None:
        module = load.import_file(candidate.file, candidate.name)
        return getattr(module, "plugin", module)
    return load.import_object(candidate.module, candidate.attribute)


def _compare(plugin: Plugin, found: Mapping[str, load.Found]) -> None:
    written = plugin.candidate.manifest
    if written is None:
        return
    coded = manifest.Manifest(hook_api=written.hook_api, hooks=tuple(sorted(found)), commands=written.commands)
    if differences := manifest.differences(written, coded):
        raise _stale(plugin, f"is not what its manifest says: {'; '.join(differences)}")


def _stale(plugin: Plugin, what: str) -> PluginError:
    return PluginError(
        what, hint=f"its author runs `crm plugins manifest --write {plugin.candidate.package}` and releases again"
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else ""
