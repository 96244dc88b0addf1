"""What settings and plugins declare together: record types with their fields, the calendar, the pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from crm_core.errors import InvalidValue, SettingsError
from crm_core.extend import DEFAULT_PIPELINE, Pipeline, Stage
from crm_core.host import Host
from crm_core.records import KERNEL_RECORDS, FieldDeclaration, Registry, build_registry
from crm_core.settings import OwnField, Settings
from crm_core.values import Calendar, GregorianCalendar, exponent

_GREGORIAN: Final = "gregorian"


def registry_of(settings: Settings, host: Host) -> Registry:
    """Return the record types of the kernel and the plugins, with the fields that plugins and the team add.

    Raises:
        SettingsError: the team's fields name a record type there is not.
    """
    records = [(cls, "crm-core") for cls in KERNEL_RECORDS]
    records += [(found.item, found.distribution) for found in host.collect("register_record_types")]
    extensions = [(found.item, found.distribution) for found in host.collect("register_fields")]
    own = {name: tuple(_own_field(one) for one in fields) for name, fields in settings.fields.items()}
    known = {one.__crm_record__.name for one, _ in records}  # type: ignore[attr-defined]
    for name, fields in settings.fields.items():
        if name not in known:
            raise SettingsError(
                f"crm.toml: [fields.{name}] names no record type", hint="for example [fields.customer.sector]"
            )
        for one in fields:
            if one.references and one.references not in known:
                raise SettingsError(
                    f"crm.toml: [fields.{name}.{one.name}] references {one.references!r}, which is no record type",
                    hint=f"there are: {', '.join(sorted(known))}",
                )
    return build_registry(
        zone=settings.zone, records=records, extensions=extensions, own_fields=own, owners=host.owners()
    )


def _own_field(own: OwnField) -> FieldDeclaration:
    return FieldDeclaration(
        name=own.name,
        kind=own.type,
        label=own.label,
        help=own.help,
        choices=own.choices,
        max_length=own.max_length if own.type == "text" else 0,
        scale=own.scale,
        references=own.references,
        personal=own.personal,
        indexed=own.indexed,
        was=own.was,
    )


def require_known_currencies(settings: Settings) -> None:
    """Check the codes that the settings name.

    Raises:
        SettingsError: ISO 4217 does not list one of them, so nobody knows how many decimals it has.
    """
    named = [("[crm] currency", settings.currency), ("[crm] reporting_currency", settings.reporting_currency)]
    named += [("[rates]", code) for code in sorted({code for rates in settings.rates.values() for code in rates})]
    for place, code in named:
        try:
            exponent(code or settings.currency)
        except InvalidValue as error:
            raise SettingsError(f"crm.toml: {place}: {error.message}") from error


def calendar_of(settings: Settings, host: Host) -> Calendar:
    """Return the calendar that the settings name.

    Raises:
        SettingsError: no plugin brings it.
    """
    if settings.calendar == _GREGORIAN:
        return GregorianCalendar()
    systems = {found.item.name: found.item.calendar for found in host.collect("register_calendars")}
    if settings.calendar not in systems:
        known = ", ".join([_GREGORIAN, *sorted(systems)])
        raise SettingsError(
            f"crm.toml: no plugin brings the calendar {settings.calendar!r}", hint=f"calendars: {known}"
        )
    return cast(Calendar, systems[settings.calendar])


def pipelines_of(settings: Settings, host: Host) -> Mapping[str, Pipeline]:
    """Return the pipelines by name, the default one first: the team's first one, else the kernel's."""
    found = {name: _pipeline(name, content) for name, content in settings.pipelines.items()}
    for collected in host.collect("register_pipelines"):
        found.setdefault(collected.item.name, collected.item)
    kernel = {DEFAULT_PIPELINE.name: DEFAULT_PIPELINE}
    return MappingProxyType({**found, **kernel, **found} if settings.pipelines else {**kernel, **found})


def _pipeline(name: str, content: Mapping[str, Any]) -> Pipeline:
    stages = tuple(
        Stage(
            name=stage["name"],
            label=stage.get("label", ""),
            kind=cast(Literal["open", "won", "lost"], stage.get("kind", "open")),
            probability=Decimal(str(stage.get("probability", 0))),
        )
        for stage in content["stages"]
    )
    return Pipeline(name=name, label=content.get("label", ""), stages=stages, on_won=content.get("on_won", "sale"))
