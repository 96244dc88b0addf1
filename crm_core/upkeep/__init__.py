"""Looking after a workspace without working in it: backup, restore, verify, plugins that go and come, workers."""

from __future__ import annotations

from crm_core.upkeep.backup import back_up, check_backup
from crm_core.upkeep.check import reindex_workspace, verify_workspace
from crm_core.upkeep.envelope import BackupInfo
from crm_core.upkeep.plugins import DetachReport, attach, detach, purge_plugin, standings_of
from crm_core.upkeep.restoring import RestoreReport, Start, WithdrawnAgain, finish_restore, restore
from crm_core.upkeep.workers import RunReport, Trouble, Workers

__all__ = [
    "BackupInfo",
    "DetachReport",
    "RestoreReport",
    "RunReport",
    "Start",
    "Trouble",
    "WithdrawnAgain",
    "Workers",
    "attach",
    "back_up",
    "check_backup",
    "detach",
    "finish_restore",
    "purge_plugin",
    "reindex_workspace",
    "restore",
    "standings_of",
    "verify_workspace",
]
