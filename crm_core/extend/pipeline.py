"""Pipelines and topics: the vocabulary of deals and interactions that plugins and `crm.toml` bring."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import attrs

from crm_core.errors import NotFound

StageKind = Literal["open", "won", "lost"]


@attrs.frozen(kw_only=True)
class Stage:
    """A step of a pipeline: a deal in it has the status `kind`; `probability` (0..1) weighs the forecast."""

    name: str
    label: str = ""
    kind: StageKind = "open"
    probability: Decimal = Decimal(0)


@attrs.frozen(kw_only=True)
class Pipeline:
    """The stages a deal moves through, in order.

    `on_won = "sale"`: winning a deal writes its Sale in the same transaction.
    """

    name: str
    label: str = ""
    stages: tuple[Stage, ...]
    on_won: Literal["sale", "nothing"] = "sale"

    def stage(self, name: str) -> Stage:
        """Return the stage of that name or label, whatever its case.

        Raises:
            NotFound: the pipeline has no such stage.
        """
        wanted = name.casefold()
        for stage in self.stages:
            if wanted in (stage.name.casefold(), stage.label.casefold()):
                return stage
        known = ", ".join(stage.name for stage in self.stages)
        raise NotFound(f"pipeline {self.name!r} has no stage {name!r}", hint=f"its stages are: {known}")


@attrs.frozen(kw_only=True)
class Topic:
    """What an interaction is about, beside the kernel's own topics."""

    name: str
    label: str


DEFAULT_PIPELINE = Pipeline(
    name="sales",
    label="Sales",
    stages=(
        Stage(name="new", label="New", probability=Decimal("0.1")),
        Stage(name="qualified", label="Qualified", probability=Decimal("0.25")),
        Stage(name="proposal", label="Proposal", probability=Decimal("0.5")),
        Stage(name="negotiation", label="Negotiation", probability=Decimal("0.75")),
        Stage(name="won", label="Won", kind="won", probability=Decimal(1)),
        Stage(name="lost", label="Lost", kind="lost"),
    ),
)
"""What a CRM without a pipeline of its own uses."""
