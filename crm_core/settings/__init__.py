"""The settings of a workspace: `crm.toml` as one frozen object, and the few ways in which the CRM writes it.

They stand at the bottom of the house: every floor may ask them, they know none but the errors.
"""

from __future__ import annotations

from crm_core.settings.files import whole_file
from crm_core.settings.model import FILE_NAME, POLICIES, AccountSettings, OwnField, Policy, Settings, default_policies
from crm_core.settings.read import WORKSPACE_VARIABLE, find_workspace, load_settings, settings_for_url
from crm_core.settings.scratch import ScratchFolder
from crm_core.settings.secret import Secret
from crm_core.settings.write import add_to_settings, extended_settings, no_file, set_disabled, write_settings

__all__ = [
    "FILE_NAME",
    "POLICIES",
    "WORKSPACE_VARIABLE",
    "AccountSettings",
    "OwnField",
    "Policy",
    "ScratchFolder",
    "Secret",
    "Settings",
    "add_to_settings",
    "default_policies",
    "extended_settings",
    "find_workspace",
    "load_settings",
    "no_file",
    "set_disabled",
    "settings_for_url",
    "whole_file",
    "write_settings",
]
