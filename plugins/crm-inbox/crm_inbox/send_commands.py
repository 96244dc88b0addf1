"""`crm send`: a message to a customer, or a template to many."""

from __future__ import annotations

import mimetypes
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from crm_core.console import (
    Column,
    confirm,
    emit,
    examples,
    instant,
    note,
    plural,
    progress,
    reading_options,
    say,
    table,
    where_option,
    workspace,
    yes_option,
)
from crm_core.errors import UsageError
from crm_core.extend import Attachment
from crm_core.records.json import record_json
from crm_core.values import format_id
from crm_inbox.attachments import LARGEST, MOST
from crm_inbox.bulk import Mailing, MailingReport, send_to_many
from crm_inbox.consent import SERVICE
from crm_inbox.outbox import send
from crm_inbox.template_commands import named_values

if TYPE_CHECKING:
    from crm_core import CRM

_BULK: Final = "marketing"


@attrs.frozen(kw_only=True)
class _Given:
    """What the options say."""

    customer: str | None
    text: str | None
    account: str
    subject: str
    template: str
    values: tuple[str, ...]
    files: tuple[str, ...]
    purpose: str | None
    at: str | None
    segment: str | None
    label: str | None
    params: tuple[str, ...]
    where: str | None
    campaign: str | None
    dry_run: bool
    yes: bool

    @property
    def to_many(self) -> bool:
        """Whether they name many instead of one."""
        return bool(self.segment or self.where)

    def require_sense(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: the options contradict each other.
        """
        if self.to_many and (self.customer or self.text):
            raise UsageError(
                "a message to many says what a template says, and names no customer",
                hint="crm send --segment rfm --label champions --template news",
            )
        if self.to_many and not self.template:
            raise UsageError(
                "a message to many needs a template", hint="--template NAME; crm templates list shows them"
            )
        if self.to_many and self.subject:
            raise UsageError("the subject of a message to many is its template's", hint="crm templates edit --subject")
        if not self.to_many and (self.label or self.params or self.campaign or self.dry_run):
            raise UsageError(
                "--label, --param, --campaign and --dry-run are for messages to many",
                hint="--segment or --where says to whom",
            )
        if not self.to_many and not self.customer:
            raise UsageError("a message for nobody", hint="name a customer, or many by --segment or --where")
        if bool(self.text) == bool(self.template) and not self.to_many:
            raise UsageError("say a text or name a template, one of them", hint='crm send ada@example.org "Hello"')


@click.command(
    "send",
    epilog=examples(
        'crm send ada@example.org "Your order left." --subject "Order 123"',
        'crm send "سارا احمدی" "تخفیف ویژه" --account sms --purpose marketing --at 2026-12-01T10:00',
        "crm send ada@example.org --template order --set number=123 --attach invoice.pdf",
        "crm send --segment abc --label A --template news --dry-run",
        """crm send --where 'country = "IR"' --template news --campaign nowruz-1406""",
    ),
)
@click.argument("customer", required=False)
@click.argument("text", required=False)
@click.option("--account", metavar="NAME", default="", help="The account; else the first that reaches the customer.")
@click.option("--subject", metavar="TEXT", default="", help="Its subject.")
@click.option("--template", metavar="NAME", default="", help="What it says, in the customer's language.")
@click.option("--set", "values", metavar="NAME=VALUE", multiple=True, help="A further name that the template uses.")
@click.option("--attach", "files", metavar="FILE", multiple=True, help="A file that goes with it.")
@click.option(
    "--purpose",
    metavar="NAME",
    help=f"What for; any but {SERVICE} needs consent. {SERVICE} for one customer, {_BULK} for many.",
)
@click.option("--at", "at", metavar="TIME", help="When it may leave at the earliest.")
@click.option("--segment", metavar="NAME", help="To everybody in a segment.")
@click.option("--label", metavar="LABEL", help="Only this group of the segment.")
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter of the segment.")
@where_option("""To all customers that match, such as 'country = "DE"'; with --segment, to those of it.""")
@click.option("--campaign", metavar="KEY", help="Nobody gets two messages under one key; template and day without it.")
@click.option("--dry-run", is_flag=True, help="Only count who would get it, and who not, and why.")
@yes_option
def send_(**options: Any) -> None:
    """Write to a customer, or to many: messages go to the outbox, and crm run sends them.

    The same command again goes on with a campaign that was cut off; whoever has its message gets no other one. One crm
    ledger undo takes back what still waits.
    """
    given = _Given(**options)
    given.require_sense()
    with workspace() as crm, reading_options():
        at = instant(given.at, crm.zone) if given.at else None
        files = _attachments(given.files)
        if given.to_many:
            _send_to_many(crm, given, files, at)
            return
        assert given.customer is not None, "it was required"
        queued = send(
            crm,
            given.text or "",
            customer=crm.resolve("customer", given.customer),
            account=given.account,
            subject=given.subject,
            template=given.template,
            values=named_values(given.values),
            attachments=files,
            purpose=given.purpose or SERVICE,
            not_before=at,
        )
        emit(
            record_json(crm.registry.types["outbox_message"], queued),
            lambda: say(f"{format_id(queued.id)} waits in the outbox for {queued.address}; crm run sends it"),
        )


def _send_to_many(crm: CRM, given: _Given, files: tuple[Attachment, ...], at: datetime | None) -> None:
    people = audience(crm, segment=given.segment, label=given.label, params=given.params, where=given.where)
    today = crm.clock.now().astimezone(crm.zone).date().isoformat()
    mailing = Mailing(
        template=given.template,
        key=(given.campaign or f"{given.template}-{today}")[:100],
        purpose=given.purpose or _BULK,
        account=given.account and crm.channels.account(given.account).name,
        values=named_values(given.values),
        attachments=files,
        not_before=at,
    )
    if not given.dry_run:
        confirm(f"Write to {plural(len(people), 'customer')}?", yes=given.yes, undoable=True)
    with progress(len(people), "looking" if given.dry_run else "writing") as bar:
        report = send_to_many(crm, mailing, people, dry_run=given.dry_run, told=bar.advance)
    emit(_json(report, dry_run=given.dry_run), lambda: _show(report, dry_run=given.dry_run))


def audience(
    crm: CRM, *, segment: str | None, label: str | None, params: tuple[str, ...], where: str | None
) -> list[int]:
    """Return whom a segment and a filter name, by id, the oldest customer first.

    Raises:
        UsageError: there is no such segment, parameter or label, or the filter is not understood.
    """
    matching = None
    if where:
        matching = [each.id for each in crm.customers.iterate(where)]
    if segment is None:
        return sorted(matching or [])
    values: dict[str, Any] = {}
    for each in params:
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{each!r} is no parameter", hint="--param name=value, such as --param rule=crossing")
        values[name.strip()] = value.strip()
    result = crm.segments.run(segment, **values)
    labels = list(dict.fromkeys([*crm.segments.get(segment).labels, *(one.label for one in result.members)]))
    if label is not None and label not in labels:
        raise UsageError(
            f"the segment {segment!r} has no group {label!r}", hint=f"groups: {', '.join(labels) or 'none'}"
        )
    members = {one.id for one in result.members if label is None or one.label == label}
    return sorted(members if matching is None else members & set(matching))


def _attachments(files: tuple[str, ...]) -> tuple[Attachment, ...]:
    if len(files) > MOST:
        raise UsageError(f"a message has {MOST} files at most")
    found = []
    for each in files:
        try:
            with Path(each).open("rb") as stream:
                content = stream.read(LARGEST + 1)
        except OSError as error:
            raise UsageError(f"{each} cannot be read: {error.strerror}") from None
        kind = mimetypes.guess_type(each)[0] or "application/octet-stream"
        found.append(Attachment(name=Path(each).name, type=kind, content=content))
    return tuple(found)


def _json(report: MailingReport, *, dry_run: bool) -> dict[str, Any]:
    operation = None if report.operation is None else format_id(report.operation)
    left_out = [{"reason": reason, "people": count} for reason, count in report.left_out.items()]
    return {**attrs.asdict(report), "operation": operation, "left_out": left_out, "dry_run": dry_run}


def _show(report: MailingReport, *, dry_run: bool) -> None:
    rows = [["would be queued" if dry_run else "queued", f"{report.queued:,}"]]
    if report.quiet:
        rows.append(["  of these after quiet hours", f"{report.quiet:,}"])
    if report.before:
        rows.append(["had it before", f"{report.before:,}"])
    rows += [[f"left out: {reason}", f"{count:,}"] for reason, count in report.left_out.items()]
    table([Column(f"campaign {report.campaign}", fit="wrap"), Column("people", right=True)], rows)
    if dry_run:
        note("Nothing was written: without --dry-run the messages go to the outbox.")
    elif report.queued and report.operation is not None:
        say(f"crm run sends them; crm ledger undo {format_id(report.operation)} takes back what still waits")
