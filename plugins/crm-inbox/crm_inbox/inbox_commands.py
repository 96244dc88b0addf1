"""`crm inbox`, `crm reply`, `crm assign`: what waits for an answer, and answering it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from crm_core import Interaction
from crm_core.console import MISSING, Column, Number, emit, examples, moment, note, pairs, plural, say, table, workspace
from crm_core.errors import UsageError
from crm_core.query.ast import Compare
from crm_core.records.json import record_json
from crm_core.values import format_id
from crm_inbox.intake import retake
from crm_inbox.outbox import send
from crm_inbox.quoting import parts_of
from crm_inbox.records import Assignment, HeldMessage, InboxAttachment
from crm_inbox.waiting import SORTS, Item, headline, inbox, item_of

if TYPE_CHECKING:
    from crm_core import CRM


@click.group(
    "inbox",
    invoke_without_command=True,
    epilog=examples(
        "crm inbox",
        "crm inbox --owner ada --sort topic",
        "crm inbox --channel email --all --limit 100 --json",
        "crm inbox --follow",
    ),
)
@click.option("--owner", metavar="USER", help="Only what this user looks after.")
@click.option("--channel", metavar="NAME", default="", help="Only what came by this channel or account.")
@click.option("--topic", "about", metavar="TOPIC", default="", help="Only this topic.")
@click.option("--sort", type=click.Choice(SORTS), default="age", show_default=True, help="Order; by age within it.")
@click.option("--all", "answered", is_flag=True, help="Also what waits no longer, after what waits.")
@click.option("--limit", type=Number(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--follow", is_flag=True, help="Go on: show what comes in and what is answered, until Ctrl-C.")
@click.pass_context
def inbox_(
    context: click.Context,
    owner: str | None,
    channel: str,
    about: str,
    sort: str,
    answered: bool,
    limit: int,
    follow: bool,
) -> None:
    """Show what waits for an answer, the oldest first.

    With --follow one line for each that comes in, and one when it is answered; with --json each is an object.
    """
    if context.invoked_subcommand is not None:
        return
    if follow and answered:
        raise UsageError("--follow shows what waits, and no older answers", hint="leave out --all")
    with workspace() as crm:
        owner_id = crm.resolve("user", owner) if owner else None
        if follow:
            from crm_inbox.following import follow_inbox

            follow_inbox(crm, owner_id=owner_id, channel=channel, topic=about)
        found = inbox(crm, owner_id=owner_id, channel=channel, topic=about, sort=sort, answered=answered, limit=limit)
        emit([each.as_json(crm.zone) for each in found], lambda: _show_list(crm, found))


@inbox_.command(epilog=examples("crm inbox show 5XK3Q"))
@click.argument("reference", metavar="INTERACTION")
def show(reference: str) -> None:
    """Show a conversation: what was written now, without what is quoted, and the files that came."""
    with workspace() as crm:
        item = item_of(crm, _interaction(crm, reference))
        thread = item.interaction.thread
        talk = (
            list(crm.interactions.find(Compare("thread", "=", thread), sort="occurred_at,id", limit=None))
            if thread
            else []
        )
        items = [item_of(crm, one) for one in talk or [item.interaction]]
        emit([_whole_json(crm, each) for each in items], lambda: _show_talk(crm, items))
        if item.candidates:
            note(f"crm interactions edit {format_id(item.interaction.id)} customer_id=CUSTOMER says whose it is")


@inbox_.command(epilog=examples("crm inbox topic 5XK3Q complaint", 'crm inbox topic 5XK3Q ""'))
@click.argument("reference", metavar="INTERACTION")
@click.argument("topic")
def topic(reference: str, topic: str) -> None:
    """Say what an interaction is about; an empty TOPIC takes that back."""
    with workspace() as crm:
        changed = crm.interactions.edit(_interaction(crm, reference).evolve(topic=topic.strip() or None))
        _done(crm, changed, f"{format_id(changed.id)} is about {changed.topic or 'nothing in particular'}")


@inbox_.command(epilog=examples('crm inbox comment 5XK3Q "Sara wants the blue one: ask the shop"'))
@click.argument("reference", metavar="INTERACTION")
@click.argument("text")
def comment(reference: str, text: str) -> None:
    """Leave a word for colleagues in a conversation; it never leaves the house."""
    with workspace() as crm:
        about = _interaction(crm, reference)
        if not text.strip():
            raise UsageError("a comment without text", hint="say something")
        made = crm.interactions.add(
            Interaction(
                customer_id=about.customer_id,
                direction="internal",
                kind="note",
                body=text,
                author_id=crm.user_id,
                thread=about.thread,
                in_reply_to_id=about.id,
            )
        )
        _done(crm, made, f"noted as {format_id(made.id)}")


@inbox_.command(epilog=examples("crm inbox done 5XK3Q"))
@click.argument("reference", metavar="INTERACTION")
def done(reference: str) -> None:
    """Say that an interaction needs no answer any more."""
    with workspace() as crm:
        changed = crm.interactions.edit(_interaction(crm, reference).evolve(needs_answer=False))
        _done(crm, changed, f"{format_id(changed.id)} needs no answer")


@inbox_.command(epilog=examples("crm inbox held", "crm inbox held --retake"))
@click.option("--retake", "again", is_flag=True, help="Take them in again, now that the rules allow them.")
def held(again: bool) -> None:
    """Show the messages that a rule of the workspace refused, with the reason."""
    with workspace() as crm:
        service = crm.records(HeldMessage)
        if again:
            taken = sum(retake(crm, each) for each in service.find("not content = '(erased)'", limit=None))
            note(f"{plural(taken, 'message')} taken in")
        found = list(service.find(limit=None))
        rows = [[format_id(each.id), each.account, each.reason] for each in found]
        shown = [{"id": format_id(each.id), "account": each.account, "reason": each.reason} for each in found]
        emit(shown, lambda: table(["id", "account", Column("reason", fit="clip")], rows))


@click.command(
    epilog=examples('crm reply 5XK3Q "It left on Monday."', 'crm reply 5XK3Q "در راه است" --account support --json')
)
@click.argument("reference", metavar="INTERACTION")
@click.argument("text")
@click.option(
    "--account", metavar="NAME", default="", help="The account it leaves by; else the one that was written to."
)
@click.option("--subject", metavar="TEXT", default="", help="Its subject; else that of what is answered.")
def reply(reference: str, text: str, account: str, subject: str) -> None:
    """Answer an interaction: the reply goes to the outbox, and crm run sends it."""
    with workspace() as crm:
        queued = send(crm, text, answers=_interaction(crm, reference), account=account, subject=subject)
        emit(
            record_json(crm.registry.types["outbox_message"], queued),
            lambda: say(f"{format_id(queued.id)} waits in the outbox for {queued.address}; crm run sends it"),
        )


@click.command(epilog=examples("crm assign 5XK3Q ada", "crm assign 5XK3Q nobody"))
@click.argument("reference", metavar="INTERACTION")
@click.argument("user")
def assign(reference: str, user: str) -> None:
    """Say who looks after an interaction; "nobody" leaves it to the owner of the customer."""
    with workspace() as crm:
        about = _interaction(crm, reference)
        who = None if user == "nobody" else crm.resolve("user", user)
        changed = crm.interactions.edit(about.with_ext(Assignment(assignee_id=who)))
        name = "nobody in particular" if who is None else crm.users.get(who).name
        _done(crm, changed, f"{name} looks after {format_id(changed.id)}")


def _interaction(crm: CRM, reference: str) -> Interaction:
    return crm.interactions.get(crm.resolve("interaction", reference))


def _done(crm: CRM, interaction: Interaction, told: str) -> None:
    emit(record_json(crm.registry.types["interaction"], interaction), lambda: say(told))


def _show_list(crm: CRM, items: list[Item]) -> None:
    heads: list[Column | str] = ["id", "since", Column("from", fit="clip"), "owner", "channel", "topic"]
    rows = [
        [
            format_id(each.interaction.id),
            moment(each.interaction.occurred_at, crm.zone),
            each.sender or MISSING,
            each.owner.name if each.owner is not None else MISSING,
            each.interaction.channel or MISSING,
            each.interaction.topic or MISSING,
            headline(each),
        ]
        for each in items
    ]
    table([*heads, Column("subject", fit="clip")], rows)
    waiting = crm.interactions.count(Compare("needs_answer", "=", 1))
    shown = sum(each.interaction.needs_answer for each in items)
    of_them = f"; {shown:,} of them shown" if shown < waiting else ""
    told = f"{plural(waiting, 'interaction')} waiting for an answer{of_them}"
    say(told if waiting else "Nothing waits for an answer.")


def _show_talk(crm: CRM, items: list[Item]) -> None:
    for item in items:
        one = item.interaction
        author = crm.users.get(one.author_id).name if one.author_id is not None else ""
        heads = [
            ("id", format_id(one.id)),
            ("at", moment(one.occurred_at, crm.zone)),
            ("direction", one.direction),
            ("from", (item.sender if one.direction == "in" else author) or MISSING),
            *([("to", item.sender or MISSING)] if one.direction == "out" else []),
            ("subject", one.subject or MISSING),
        ]
        heads += [("file", _file_line(each)) for each in _files(crm, one.id)]
        pairs(heads)
        say(parts_of(one.body or "").text.strip())
        say()


def _files(crm: CRM, interaction_id: int) -> list[InboxAttachment]:
    return list(crm.records(InboxAttachment).find(Compare("interaction_id", "=", interaction_id), limit=None))


def _file_line(each: InboxAttachment) -> str:
    kept = f"not kept: {each.refused}" if each.digest is None else f"attachments/{each.digest[:2]}/{each.digest}"
    return f"{each.name or MISSING} ({each.size:,} bytes; {kept})"


def _whole_json(crm: CRM, item: Item) -> dict[str, Any]:
    parts = parts_of(item.interaction.body or "")
    files = [record_json(crm.registry.types["inbox_attachment"], each) for each in _files(crm, item.interaction.id)]
    whole = {"direction": item.interaction.direction, "body": item.interaction.body}
    told = {"text": parts.text, "signature": parts.signature, "quoted": parts.quoted}
    return {**item.as_json(crm.zone), **whole, **told, "attachments": files}
