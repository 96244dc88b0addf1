"""`crm pipelines` and `crm fields`: the words of this workspace, and where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from crm_core.cli.listing import ListingGroup
from crm_core.console import MISSING, Column, emit, examples, heading, say, share, table, workspace, workspace_directory
from crm_core.records.registry import OWN_FIELDS

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.extend import Pipeline
    from crm_core.records import RecordType
    from crm_core.records.registry import Field


@click.group(cls=ListingGroup)
def pipelines() -> None:
    """See pipelines: the stages a deal moves through."""


@pipelines.command("list", epilog=examples("crm pipelines list", "crm pipelines list --json"))
def list_pipelines() -> None:
    """List pipelines with their stages, in order."""
    with workspace() as crm:
        found = list(crm.pipelines.values())

        def show() -> None:
            for pipeline in found:
                _show_pipeline(pipeline)
            say()
            say("Pipelines are declared in crm.toml under [pipelines.NAME], or by plugins.")

        emit([_pipeline_json(pipeline) for pipeline in found], show)


@click.group(cls=ListingGroup)
def fields() -> None:
    """See and add fields: what every record type holds."""


@fields.command("list", epilog=examples("crm fields list", "crm fields list customer", "crm fields list deals --json"))
@click.argument("type_name", metavar="[TYPE]", required=False)
def list_fields(type_name: str | None) -> None:
    """List the fields of one record type or all, and whose they are: the kernel's, a plugin's, or your own."""
    with workspace() as crm:
        kinds = [crm.registry.named(type_name)] if type_name else _public(crm)
        data = [{"type": kind.name, "fields": [_field_json(field) for field in kind.fields.values()]} for kind in kinds]

        def show() -> None:
            for kind in kinds:
                _show_fields(kind)

        emit(data, show)


@fields.command(
    "add",
    epilog=examples(
        'crm fields add customer sector --label "Sector" --choice retail --choice industry',
        "crm fields add customer employees --kind integer && crm storage upgrade",
    ),
)
@click.argument("type_name", metavar="TYPE")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["text", "integer", "boolean", "decimal", "day", "moment", "money"]),
    default="text",
    show_default=True,
)
@click.option("--label", metavar="TEXT", help="What people read; made from the name, if left out.")
@click.option("--choice", "choices", metavar="TEXT", multiple=True, help="An allowed value; may be repeated.")
@click.option("--personal", is_flag=True, help="It says something of a person: it goes with an erasure.")
def add_field(
    type_name: str, name: str, kind: str, label: str | None, choices: tuple[str, ...], personal: bool
) -> None:
    """Add a field of your own to a record type: it is written to crm.toml and used as fields.NAME."""
    from crm_core.settings import add_to_settings

    with workspace() as crm:
        singular = crm.registry.named(type_name).name
    content: dict[str, Any] = {"type": kind, "label": label or name.replace("_", " ").capitalize()}
    content |= {"choices": list(choices)} if choices else {}
    content |= {"personal": True} if personal else {}
    added = add_to_settings(workspace_directory(), fields={singular: {name: content}})
    with workspace() as crm:
        field = crm.registry.named(singular).field(f"{OWN_FIELDS}.{name}")
    done = f"{field.path} of {singular} is " + ("there now" if added else "there already")
    emit(_field_json(field), lambda: say(done))


def _public(crm: CRM) -> list[RecordType]:
    return [kind for kind in crm.registry.types.values() if not kind.declaration.internal]


def _show_pipeline(pipeline: Pipeline) -> None:
    heading(f"{pipeline.label or pipeline.name} ({pipeline.name})")
    table(
        ["stage", "label", "kind", Column("probability", right=True)],
        [
            [stage.name, stage.label or stage.name, stage.kind, share(stage.probability, digits=0)]
            for stage in pipeline.stages
        ],
    )
    won = "writes its sale" if pipeline.on_won == "sale" else "writes nothing more"
    say(f"Winning a deal {won} (on_won = {pipeline.on_won!r}).")


def _pipeline_json(pipeline: Pipeline) -> dict[str, Any]:
    stages = [
        {"name": s.name, "label": s.label or s.name, "kind": s.kind, "probability": s.probability}
        for s in pipeline.stages
    ]
    return {
        "name": pipeline.name,
        "label": pipeline.label or pipeline.name,
        "on_won": pipeline.on_won,
        "stages": stages,
    }


def _show_fields(kind: RecordType) -> None:
    heading(f"{kind.declaration.label} ({kind.plural})")
    rows = [
        [
            field.path,
            field.declaration.kind,
            field.declaration.label,
            field.declaration.references or ", ".join(field.declaration.choices) or MISSING,
            field.owner,
        ]
        for field in kind.fields.values()
    ]
    table(["field", "kind", "label", Column("holds", fit="wrap"), "from"], rows)


def _field_json(field: Field) -> dict[str, Any]:
    declared = field.declaration
    return {
        "field": field.path,
        "kind": declared.kind,
        "label": declared.label,
        "required": declared.required,
        "personal": declared.personal,
        "derived": declared.derived,
        "references": declared.references or None,
        "choices": list(declared.choices),
        "from": field.owner,
    }
