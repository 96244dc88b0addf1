"""What every service of one open CRM shares: storage, registry, host, unit of work, clock and vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import attrs

from crm_core.extend import Pipeline, Storage
from crm_core.host import Host
from crm_core.ledger.history import History
from crm_core.ledger.work import UnitOfWork
from crm_core.records import Registry
from crm_core.values import Clock


@attrs.frozen(kw_only=True)
class Session:
    """The shared state of one CRM; `resolve(type, text)` turns a reference typed by a person into an id."""

    storage: Storage
    registry: Registry
    host: Host
    work: UnitOfWork
    history: History
    clock: Clock
    zone: ZoneInfo
    currency: str
    pipelines: Mapping[str, Pipeline]
    default_pipeline: Pipeline
    topics: frozenset[str]
    policies: Mapping[str, Any]
    resolve: Callable[[str, str], int]
