"""A hook call through the host, with 1, 5 and 20 plugins, beside plain pluggy calling the same functions.

The host contains, times and checks each call; pluggy does none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pluggy

from crm_core.events import Change, Changing, Origin, Veto
from crm_core.host import Host, discover, hookimpl
from crm_core.records import Deal
from crm_core.settings import Settings
from tests.benchmarks import Row, at_most, beside, side_by_side

CALLS = 2_000


class Silent:
    """A plugin without an objection."""

    @hookimpl
    def before_deals_change(self, event: Changing[Deal]) -> list[Veto]:
        return []


class Objecting:
    """A plugin that objects to every change."""

    @hookimpl
    def before_deals_change(self, event: Changing[Deal]) -> list[Veto]:
        return [Veto(0, "amount", "no amount")]


def run(full: bool) -> list[Row]:
    rows = []
    event = Changing(changes=(Change(None, Deal(customer_id=1, title="Licence")),), origin=Origin())
    for count in (1, 5, 20):
        for plugin in (Silent, Objecting):
            host, plain = _host([plugin() for _ in range(count)]), _plain([plugin() for _ in range(count)])
            ours, limit = side_by_side(
                _times(partial(host.veto, "before_deals_change", event)),
                _times(partial(plain.hook.before_deals_change, event=event)),
                rounds=15 if full else 7,
            )
            name = f"one call, {count} plugin{'s' if count > 1 else ''}, {plugin.__name__.lower()}"
            us = 1000 / CALLS
            rows.append(beside(name, ours * us, limit * us, times=3, slack=1, unit="us"))
    empty = _host([])
    nobody, _ = side_by_side(_times(partial(empty.implements, "before_deals_change")), lambda: None)
    rows.append(at_most("asking whether anybody listens", nobody * 1000 / CALLS, 0.5, unit="us"))
    return rows


def _times(call: Callable[[], object]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(CALLS):
            call()

    return repeat


def _host(plugins: list[object]) -> Host:
    ambient = tuple(candidate.name for candidate in discover.installed())
    return Host.open(Settings(storage_url="memory:", plugins_disabled=ambient), plugins)


def _plain(plugins: list[object]) -> Any:
    manager = pluggy.PluginManager("crm_core")
    specification = pluggy.HookspecMarker("crm_core")

    class Specification:
        @specification
        def before_deals_change(self, event: Any) -> None: ...

    manager.add_hookspecs(Specification)
    for plugin in plugins:
        manager.register(plugin)
    return manager
