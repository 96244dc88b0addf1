"""Looking after a workspace's database without working in it: backup, restore, verify, and plugins that go and come."""

from __future__ import annotations

from crm_core.upkeep.backup import BackupInfo, RestoreReport, Start, back_up, restore
from crm_core.upkeep.check import verify_workspace
from crm_core.upkeep.plugins import DetachReport, attach, detach, purge_plugin

__all__ = [
    "BackupInfo",
    "DetachReport",
    "RestoreReport",
    "Start",
    "attach",
    "back_up",
    "detach",
    "purge_plugin",
    "restore",
    "verify_workspace",
]
