"""The plugin host: finds plugins without importing them, admits what keeps the contract, calls hooks by policy."""

from __future__ import annotations

from crm_core.host.contract import CONTRACT, Hook
from crm_core.host.host import Host
from crm_core.host.marker import hookimpl
from crm_core.host.report import Collected, Explanation, HookStats, PluginInfo, Subscriber

__all__ = [
    "CONTRACT",
    "Collected",
    "Explanation",
    "Hook",
    "HookStats",
    "Host",
    "PluginInfo",
    "Subscriber",
    "hookimpl",
]
