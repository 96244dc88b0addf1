from __future__ import annotations

from crm_core.testing import PluginContract


class TestPlugin(PluginContract):
    package = "crm_segments"
