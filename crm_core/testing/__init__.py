"""The conformance kit: what a vendor's tests subclass to know that a plugin keeps the contract.

Needs `pip install "crm-core[testing]"`.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "crm_core.testing.analytics",
    "crm_core.testing.backups",
    "crm_core.testing.channel",
    "crm_core.testing.evolving",
    "crm_core.testing.importer",
    "crm_core.testing.machine",
    "crm_core.testing.plugins",
    "crm_core.testing.positions",
    "crm_core.testing.searching",
    "crm_core.testing.sharing",
    "crm_core.testing.storage",
    "crm_core.testing.volumes",
)

from crm_core.services.channels import OpenChannel  # noqa: E402
from crm_core.testing.channel import ChannelContract, ChannelFault  # noqa: E402
from crm_core.testing.importer import (  # noqa: E402  (after the line that makes its assertions talk)
    ImporterContract,
    ImportSample,
    RefusedFile,
)
from crm_core.testing.plugins import PluginContract  # noqa: E402
from crm_core.testing.storage import StorageContract  # noqa: E402

__all__ = [
    "ChannelContract",
    "ChannelFault",
    "ImportSample",
    "ImporterContract",
    "OpenChannel",
    "PluginContract",
    "RefusedFile",
    "StorageContract",
]
