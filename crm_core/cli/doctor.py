"""`crm doctor`: checks a workspace from top to bottom and says of each fault what to do."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import attrs
import click

from crm_core import __version__
from crm_core.cli.app import lenient_settings
from crm_core.console import Column, emit, examples, plural, say, table, workspace
from crm_core.errors import CrmError
from crm_core.ledger.erasure_log import ErasureLog
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core.crm import CRM


@attrs.frozen
class Finding:
    """One thing that was looked at: whether it is well, and what to do when it is not."""

    what: str
    state: Literal["well", "doubtful", "wrong"]
    text: str
    advice: str = ""


@click.command(epilog=examples("crm doctor", "crm doctor -w shop --json"))
@click.pass_context
def doctor(context: click.Context) -> None:
    """Check Python, plugins, settings, database, ledger, data and accounts of channels; 1 when something is wrong.

    Accounts are tried without sending anything, for 20 seconds at most.
    """
    findings = [Finding("version", "well", f"crm {__version__} on Python {platform.python_version()}"), *_plugins()]
    try:
        with workspace() as crm:
            findings += _workspace(crm)
    except CrmError as error:
        findings.append(Finding("workspace", "wrong", error.message, error.hint))
    bad = [one for one in findings if one.state == "wrong"]

    def show() -> None:
        mark = {"well": "ok", "doubtful": "look", "wrong": "WRONG"}
        table(
            ["check", "state", Column("found", fit="wrap")],
            [[one.what, mark[one.state], one.text] for one in findings],
        )
        for one in findings:
            if one.advice:
                say(f"{one.what}: {one.advice}")
        say(_verdict(findings))

    emit([attrs.asdict(one) for one in findings], show)
    if bad:
        context.exit(1)


def _verdict(findings: list[Finding]) -> str:
    counts = {state: sum(one.state == state for one in findings) for state in ("wrong", "doubtful")}
    if counts["wrong"]:
        return f"{plural(counts['wrong'], 'thing')} must be put right."
    return f"Nothing is wrong; look at {plural(counts['doubtful'], 'thing')}." if counts["doubtful"] else "All is well."


def _plugins() -> Iterator[Finding]:
    from crm_core.host import Host

    for info in Host.open(lenient_settings(), tolerant=True).check():
        if info.status in ("broken", "incompatible"):
            yield Finding(f"plugin {info.name}", "wrong", f"{info.status}: {info.reason}", info.hint)
        else:
            yield Finding(f"plugin {info.name}", "well", f"{info.title}, {info.status}")


def _workspace(crm: CRM) -> Iterator[Finding]:
    status = crm.storage.status()
    yield Finding("settings", "well", str(crm.settings.file or "made from the storage URL"))
    yield Finding("storage", "well", f"{status.engine}, {status.place}, schema up to date")
    yield from _ledger(crm)
    yield from _erasures(crm)
    yield from _deliveries(crm)
    yield from _stages(crm)
    yield from _rates(crm)
    yield from _accounts(crm)


def _ledger(crm: CRM) -> Iterator[Finding]:
    cut_off = [entry for entry in crm.ledger.operations(limit=200) if entry.state == "incomplete"]
    for entry in cut_off:
        name = format_id(entry.id)
        advice = f"crm ledger undo {name} takes it back"
        if entry.kind == "import":
            advice += f"; crm import --resume {name} goes on with it"
        yield Finding("ledger", "doubtful", f"{entry.label!r} was cut off before its end", advice)
    try:
        crm.ledger.require_key()
    except CrmError as error:
        yield Finding("ledger", "wrong", error.message, error.hint)
    if not cut_off:
        yield Finding("ledger", "well", f"position {crm.ledger.history.head():,}, nothing was cut off")


def _erasures(crm: CRM) -> Iterator[Finding]:
    """Persons whom a restored backup brought back, and who could not be erased again."""
    for one, person, other in crm.privacy.unsettled():
        who, into = format_id(person), format_id(other)
        text = f"customer {who} was erased at {one.at}; in the backup that was restored they are a part of {into}"
        advice = f"undo that merge, and the next command erases {who}; or crm customers erase {into}"
        yield Finding("erasures", "wrong", text, advice)
    try:
        ErasureLog(crm.settings.directory).read()
    except CrmError as error:
        yield Finding("erasures", "wrong", error.message, error.hint)


def _deliveries(crm: CRM) -> Iterator[Finding]:
    """Tell what subscribers were to be told and could not take in."""
    behind = [one for one in crm.ledger.delivery.cursors() if one.error and one.attempts]
    for cursor in behind:
        yield Finding("deliveries", "doubtful", f"tried again later: {cursor.error}")
    parked = crm.ledger.delivery.parked()
    for subscriber in sorted({(one.plugin, one.hook) for one in parked}):
        mine = [one for one in parked if (one.plugin, one.hook) == subscriber]
        last = f"the last at position {mine[-1].position:,}: {mine[-1].error}"
        text = f"{plural(len(mine), 'transaction')} given up on, {last}"
        advice = f"crm plugins retry {mine[-1].plugin} tells it again, with --forget it is let go"
        yield Finding("deliveries", "doubtful", text, advice)
    if not behind and not parked:
        yield Finding("deliveries", "well", "nothing failed")


def _stages(crm: CRM) -> Iterator[Finding]:
    """Deals in a stage that their pipeline does not have (any more)."""
    from sqlalchemy import func, select

    deals = crm.tables.deals.c
    grouped = select(deals.pipeline, deals.stage, func.count(deals.id)).group_by(deals.pipeline, deals.stage)
    lost = 0
    for pipeline, stage, count in crm.run(grouped):
        known = crm.pipelines.get(pipeline or "")
        if known is None or stage not in {one.name for one in known.stages}:
            lost += count
            yield Finding(
                "deals",
                "doubtful",
                f"{plural(count, 'deal')} in stage {stage!r} of pipeline {pipeline!r}, which is not declared",
                "declare it in crm.toml under [pipelines], or move them with crm deals move",
            )
    if not lost:
        yield Finding("deals", "well", "every deal is in a stage of its pipeline")


def _rates(crm: CRM) -> Iterator[Finding]:
    """Currencies of sales that the reporting currency has no rate for."""
    target = crm.settings.reporting_currency
    if target is None:
        return
    from sqlalchemy import select

    sales = crm.tables.sales.c
    used = [row[0] for row in crm.run(select(sales.amount_currency).distinct()) if row[0] is not None]
    today = crm.clock.now().astimezone(crm.zone).date()
    missing = [code for code in used if crm.exchange_rate(code, target, today) is None]
    for code in missing:
        advice = f'add a rate to crm.toml: [rates] "{today}" = {{ {code} = "0.92" }}'
        yield Finding("rates", "doubtful", f"sales in {code} cannot be converted to {target}", advice)
    if not missing:
        yield Finding("rates", "well", f"every currency converts to {target}")


def _accounts(crm: CRM) -> Iterator[Finding]:
    """Accounts of channels whose settings do not work; nothing is sent."""
    if crm.channels.accounts:
        for each in crm.channels.check():
            yield Finding(f"account {each.account}", "well" if each.well else "wrong", each.told, each.hint)
