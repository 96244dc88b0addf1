"""What the values of some kernel records must agree on, beyond their single fields: stages and addresses.

A rule names the field it refuses in `column`; whoever calls it knows the column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from crm_core.errors import NotFound
from crm_core.extend import Pipeline, Stage
from crm_transfer.cells import contact_key
from crm_transfer.errors import BadCell
from crm_transfer.report import listed


class Rule(Protocol):
    """Checks values of one record, and writes them as the kernel does."""

    def __call__(self, values: dict[str, Any], pipelines: Mapping[str, Pipeline], default: Pipeline) -> None:
        """Raise `BadCell` for values that cannot be."""


def _deal(values: dict[str, Any], pipelines: Mapping[str, Pipeline], default: Pipeline) -> None:
    """Name the stage as the pipeline does; the status follows from it."""
    if "stage" not in values and "pipeline" not in values:
        return
    pipeline = _pipeline(values.get("pipeline"), pipelines, default)
    values["pipeline"] = pipeline.name
    if values.get("stage"):
        values["stage"] = _stage(pipeline, "stage", values["stage"]).name


def _stage_change(values: dict[str, Any], pipelines: Mapping[str, Pipeline], default: Pipeline) -> None:
    pipeline = _pipeline(values.get("pipeline"), pipelines, default)
    for field in ("from_stage", "to_stage"):
        if values.get(field):
            values[field] = _stage(pipeline, field, values[field]).name


def _contact_point(values: dict[str, Any], pipelines: Mapping[str, Pipeline], default: Pipeline) -> None:
    """Refuse what is no address of its kind."""
    if values.get("kind") and values.get("value"):
        try:
            contact_key(values["kind"], values["value"])
        except BadCell as bad:
            raise bad.at("value", values["value"]) from None


def _pipeline(name: str | None, pipelines: Mapping[str, Pipeline], default: Pipeline) -> Pipeline:
    if not name:
        return default
    found = pipelines.get(name)
    if found is None:
        raise BadCell(
            "pipeline", f"there is no such pipeline; there are: {listed(pipelines)}", column="pipeline", value=name
        )
    return found


def _stage(pipeline: Pipeline, field: str, name: str) -> Stage:
    try:
        return pipeline.stage(name)
    except NotFound as error:
        raise BadCell("stage", f"{error.message}; {error.hint}", column=field, value=name) from error


RULES: Final[Mapping[str, Rule]] = {"deal": _deal, "stage_change": _stage_change, "contact_point": _contact_point}
