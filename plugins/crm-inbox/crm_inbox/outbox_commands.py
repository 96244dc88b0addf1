"""`crm outbox`, `crm channels`: what is to leave and what left, and the accounts that messages leave and come by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from crm_core.console import (
    MISSING,
    Column,
    confirm,
    emit,
    examples,
    list_options,
    moment,
    note,
    pairs,
    plural,
    reading_options,
    say,
    table,
    where_option,
    workspace,
    yes_option,
)
from crm_core.errors import CrmError, UsageError
from crm_core.query.ast import And, Compare, In
from crm_core.records.json import record_json
from crm_core.values import format_id
from crm_inbox.records import EarlyReceipt, HeldMessage, InboxState, OutboxMessage
from crm_inbox.retrying import CANCELLED, parked, try_again, try_all_again
from crm_inbox.status import fail

if TYPE_CHECKING:
    from crm_core import CRM


@click.group()
def outbox() -> None:
    """See what is to leave, what left, and what was given up."""


@outbox.command("list", epilog=examples("crm outbox list", "crm outbox list --where 'status = \"failed\"' --json"))
@list_options
def list_(where: str | None, sort: str | None, limit: int, after: str | None) -> None:
    """List messages, the newest first, each with what became of it."""
    with workspace() as crm:
        page = crm.records(OutboxMessage).find(where, sort=sort or "-id", limit=limit, after=after)

        def show() -> None:
            heads: list[Column | str] = ["id", "status", "account", Column("to", fit="clip"), "purpose", "next try"]
            rows = [
                [
                    format_id(each.id),
                    each.status,
                    each.account,
                    each.address,
                    each.purpose,
                    moment(each.next_at, crm.zone) if each.status in ("queued", "sending") else MISSING,
                    each.reason or MISSING,
                ]
                for each in page
            ]
            table([*heads, Column("reason", fit="clip")], rows)

        emit([_json(crm, each) for each in page], show)
        if page.next:
            note(f"There are more: --after {page.next}")


@outbox.command(epilog=examples("crm outbox retry 5XK3Q", """crm outbox retry --where 'account = "sms"'"""))
@click.argument("reference", metavar="MESSAGE", required=False)
@where_option("""All that match and never left, such as 'campaign = "news"'; not what somebody cancelled.""")
@yes_option
def retry(reference: str | None, where: str | None, yes: bool) -> None:
    """Send a message again that was given up, or many, each under the message id that it had."""
    with workspace() as crm, reading_options():
        if (reference is None) == (where is None):
            raise UsageError("which messages?", hint="name one, or say --where; crm outbox list shows them")
        if reference is not None:
            again = try_again(crm, _message(crm, reference))
            emit(_json(crm, again), lambda: say(f"{format_id(again.id)} waits in the outbox again"))
            return
        found = parked(crm, where)
        confirm(f"Put {plural(len(found), 'message')} into the outbox again?", yes=yes)
        count = try_all_again(crm, found)
        emit({"again": count}, lambda: say(f"{plural(count, 'message')} in the outbox again; crm run sends them"))


@outbox.command(epilog=examples("crm outbox cancel 5XK3Q"))
@click.argument("reference", metavar="MESSAGE")
def cancel(reference: str) -> None:
    """Keep a message from leaving; one that left cannot be called back."""
    with workspace() as crm:
        message = _message(crm, reference)
        if message.status != "queued":
            raise UsageError(f"the message is {message.status}, not queued", hint="crm outbox list shows what is")
        cancelled = fail(crm, message, CANCELLED)
        emit(_json(crm, cancelled), lambda: say(f"{format_id(cancelled.id)} does not leave"))


@click.group()
def channels() -> None:
    """See the accounts that messages come and go by."""


@channels.command(epilog=examples("crm channels status", "crm channels status --json"))
def status() -> None:
    """Show each account: when it was last read, when it is next, what waits to leave, and what is wrong with it."""
    with workspace() as crm:
        found = [_standing(crm, name) for name in crm.channels.accounts]

        def show() -> None:
            for each in found:
                pairs([(name.replace("_", " "), _words(crm, value)) for name, value in each.items()])
                say()
            if any(each["given_up"] for each in found):
                note("""crm outbox list --where 'status = "failed"' says why what was given up was""")
            if not found:
                say('No account yet: [channels.<name>] with type = "..." in crm.toml declares one.')

        emit([{name: _plain(crm, value) for name, value in each.items()} for each in found], show)


@channels.command(epilog=examples("crm channels check", "crm channels check support"))
@click.argument("account", required=False)
@click.pass_context
def check(context: click.Context, account: str | None) -> None:
    """Try the settings of each account, or of one, without sending anything."""
    with workspace() as crm:
        names = [crm.channels.account(account).name] if account else list(crm.channels.accounts)
        found = [
            {"account": each.account, "ok": each.well, "told": f"{each.told}{f'; {each.hint}' if each.hint else ''}"}
            for each in crm.channels.check(names)
        ]
        rows = [[str(each["account"]), "ok" if each["ok"] else "wrong", str(each["told"])] for each in found]
        emit(found, lambda: table(["account", "state", Column("what was reached", fit="clip")], rows))
        if not all(each["ok"] for each in found):
            context.exit(1)


def _message(crm: CRM, reference: str) -> OutboxMessage:
    return crm.records(OutboxMessage).get(crm.resolve("outbox_message", reference))


def _json(crm: CRM, message: OutboxMessage) -> dict[str, Any]:
    shown: dict[str, Any] = record_json(crm.registry.types["outbox_message"], message)
    return shown


def _standing(crm: CRM, name: str) -> dict[str, Any]:
    jobs = {each.job: each for each in crm.jobs.standing() if each.part == name}
    poll, sending = jobs.get("poll"), jobs.get("send")
    states = crm.records(InboxState).find(Compare("account", "=", name), limit=1)
    waiting = In("status", ("queued", "sending"))
    by_account = Compare("account", "=", name)
    errors = [each.error for each in (poll, sending) if each is not None and each.error]
    try:
        kind = crm.channels.type_of(name)
        able = sorted(kind.capabilities)
        with crm.channels.open(name):
            pass
    except CrmError as error:
        able, errors = [], [error.message, *errors]
    last = poll.last_success_at if poll is not None else None
    sends_at = sending.next_try_at if sending is not None else None
    listening = poll is not None and poll.running and "listen" in able
    return {
        "account": name,
        "channel": crm.channels.account(name).type,
        "can": able,
        "last_success_at": last,
        "listening": listening,
        "next_try_at": poll.next_try_at if poll is not None and not listening else None,
        "lag_seconds": None if last is None else max(0, round((crm.clock.now() - last).total_seconds())),
        "last_message_at": states[0].last_message_at if states else None,
        "held": crm.records(HeldMessage).count(by_account),
        "receipts_waiting": crm.records(EarlyReceipt).count(by_account),
        "waiting_to_leave": crm.records(OutboxMessage).count(And((by_account, waiting))),
        "sends_again_at": sends_at if sends_at is not None and sends_at > datetime.now(UTC) else None,
        "given_up": crm.records(OutboxMessage).count(And((by_account, Compare("status", "=", "failed")))),
        "error": "; ".join(dict.fromkeys(errors)) or None,
    }


def _plain(crm: CRM, value: Any) -> Any:
    return value.astimezone(crm.zone).isoformat() if isinstance(value, datetime) else value


def _words(crm: CRM, value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value, crm.zone, seconds=True)
    if isinstance(value, list):
        return ", ".join(value) or MISSING
    return MISSING if value is None else str(value)
