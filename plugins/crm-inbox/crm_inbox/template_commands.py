"""`crm templates`: what messages say, per language, and how they look for a customer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import click

from crm_core.console import MISSING, Column, emit, examples, pairs, reading_options, say, table, workspace
from crm_core.errors import NotFound, UsageError
from crm_core.query.ast import Compare
from crm_core.records.json import record_json
from crm_inbox.records import MessageTemplate
from crm_inbox.sandbox import LONGEST_SOURCE
from crm_inbox.templates import Letter, direction_of, in_language, letter, require_readable, versions

if TYPE_CHECKING:
    from crm_core import CRM

F = TypeVar("F", bound=Callable[..., Any])
_NAME: Final = re.compile(r"\w[\w.-]{0,99}")
_LANGUAGE: Final = re.compile(r"(?:[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*)?")


@click.group()
def templates() -> None:
    """Write what messages say, per language; crm send and crm.outbox fill it in."""


def _content(command: F) -> F:
    """Add the options that say what a template says."""
    for option in (
        click.option("--html", "html", metavar="FILE", help="A file with the same as HTML."),
        click.option("--file", "file", metavar="FILE", help="A file with the text."),
        click.option("--text", "text", metavar="TEXT", help="The text; {{ customer.name }} is filled in."),
        click.option("--subject", "subject", metavar="TEXT", help="The subject, for channels that have one."),
        click.option("--language", "-l", metavar="TAG", default="", help="Its language, such as fa; any without it."),
    ):
        command = option(command)
    return command


@templates.command("list", epilog=examples("crm templates list", "crm templates list --json"))
def list_() -> None:
    """List the templates, with their languages."""
    with workspace() as crm:
        found = list(crm.records(MessageTemplate).find(sort="name,language", limit=None))

        def show() -> None:
            rows = [[each.name, each.language or "any", each.subject or MISSING] for each in found]
            table(["template", "language", Column("subject", fit="clip")], rows)
            if not found:
                say('None yet: crm templates add welcome --subject "Welcome" --text "Hello {{ customer.name }}"')

        emit([_json(crm, each) for each in found], show)


@templates.command(epilog=examples("crm templates show welcome", "crm templates show welcome --language fa"))
@click.argument("name")
@click.option("--language", "-l", metavar="TAG", help="This language only.")
def show(name: str, language: str | None) -> None:
    """Show what a template says, in each of its languages."""
    with workspace() as crm:
        found = versions(crm, name) if language is None else [_exact(crm, name, language)]

        def told() -> None:
            for each in found:
                pairs([("template", each.name), ("language", each.language or "any"), ("subject", each.subject or "")])
                say(each.body)
                if each.html:
                    say(each.html)
                say()

        emit([_json(crm, each) for each in found], told)


@templates.command(
    epilog=examples(
        'crm templates add welcome --subject "Welcome" --text "Hello {{ customer.name | default(\'there\') }}"',
        'crm templates add welcome --language fa --subject "خوش آمدید" --file welcome.fa.txt --html welcome.fa.html',
    )
)
@click.argument("name")
@_content
def add(name: str, language: str, subject: str | None, text: str | None, file: str | None, html: str | None) -> None:
    """Add a template, or another language of one."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a template", hint="letters, digits, - and . of any script")
    with workspace() as crm, reading_options():
        tag = _tag(language)
        if any(each.language == tag for each in crm.records(MessageTemplate).find(Compare("name", "=", name))):
            raise UsageError(
                f"there is a template {name!r} for {tag or 'any language'}", hint="crm templates edit changes it"
            )
        said = _text(text, file)
        if said is None:
            raise UsageError("a template without text", hint="--text says it, or --file names a file")
        made = MessageTemplate(name=name, language=tag, subject=subject, body=said, html=_read(html))
        require_readable(made, _places(file, html))
        stored = crm.records(MessageTemplate).add(made)
        emit(
            _json(crm, stored),
            lambda: say(f"{name} is there for {tag or 'any language'}; crm templates preview {name}"),
        )


@templates.command(
    epilog=examples(
        'crm templates edit welcome --subject "Hello"', "crm templates edit welcome -l fa --file welcome.fa.txt"
    )
)
@click.argument("name")
@_content
def edit(name: str, language: str, subject: str | None, text: str | None, file: str | None, html: str | None) -> None:
    """Change what a template says in a language."""
    with workspace() as crm, reading_options():
        found = _exact(crm, name, language)
        given = {"subject": subject, "body": _text(text, file), "html": _read(html)}
        changes = {part: value for part, value in given.items() if value is not None}
        if not changes:
            raise UsageError("nothing to change", hint="--subject, --text, --file or --html says what")
        changed = found.evolve(**changes)
        require_readable(changed, _places(file, html))
        stored = crm.records(MessageTemplate).edit(changed)
        emit(_json(crm, stored), lambda: say(f"{name} is changed; crm ledger undo last takes it back"))


@templates.command(epilog=examples("crm templates remove welcome --language fa"))
@click.argument("name")
@click.option("--language", "-l", metavar="TAG", default="", help="The language; without it the one for any.")
def remove(name: str, language: str) -> None:
    """Remove one language of a template; what waits in the outbox stays as it is."""
    with workspace() as crm:
        found = _exact(crm, name, language)
        crm.records(MessageTemplate).delete(found)
        emit(_json(crm, found), lambda: say(f"{name} is removed; crm ledger undo last brings it back"))


@templates.command(
    epilog=examples("crm templates preview welcome ada@example.org", "crm templates preview order ada --set number=123")
)
@click.argument("name")
@click.argument("customer", required=False)
@click.option("--set", "values", metavar="NAME=VALUE", multiple=True, help="A further name that the template uses.")
@click.option("--language", "-l", metavar="TAG", help="In this language; else in the customer's.")
def preview(name: str, customer: str | None, values: tuple[str, ...], language: str | None) -> None:
    """Show what a customer would get; nothing is sent."""
    with workspace() as crm, reading_options():
        person = crm.customers.get(crm.resolve("customer", customer)) if customer else None
        tongue = language if language is not None else person.language if person is not None else None
        given = {"unsubscribe_url": "https://example.org/unsubscribe", **named_values(values)}
        made = letter(crm, in_language(versions(crm, name), tongue), person, given)
        emit(attrs.asdict(made), lambda: _show(made))


def named_values(given: tuple[str, ...]) -> dict[str, str]:
    """Return what `--set name=value` says.

    Raises:
        UsageError: one of them has another form.
    """
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.strip().isidentifier() or name.startswith("_"):
            raise UsageError(f"--set {each!r}: expected a name and a value", hint="--set number=123")
        found[name.strip()] = value
    return found


def _show(made: Letter) -> None:
    pairs([("subject", made.subject or MISSING), ("language", made.language or "any"), ("direction", made.direction)])
    say(made.text)
    if made.html:
        say()
        say(made.html)


def _exact(crm: CRM, name: str, language: str) -> MessageTemplate:
    tag = _tag(language)
    found = versions(crm, name)
    for each in found:
        if each.language == tag:
            return each
    known = ", ".join(each.language or "any" for each in found)
    raise NotFound(f"the template {name!r} is not there for {tag or 'any language'}", hint=f"languages: {known}")


def _tag(language: str) -> str:
    """Return a language as it is stored: "fa-IR" for "FA_ir"."""
    first, *others = language.strip().replace("_", "-").split("-")
    tag = "-".join([first.lower(), *(each.upper() if len(each) == 2 else each.title() for each in others)])
    if not _LANGUAGE.fullmatch(tag):
        raise UsageError(f"{language!r} is no language", hint="a tag such as fa, en-GB or az-Arab")
    return tag


def _text(text: str | None, file: str | None) -> str | None:
    if text is not None and file is not None:
        raise UsageError("the text is said twice", hint="--text or --file, one of them")
    return text if file is None else _read(file)


def _read(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LONGEST_SOURCE * 4 + 1)
        if len(content) > LONGEST_SOURCE * 4:
            raise UsageError(f"{file} is too large for a template", hint=f"{LONGEST_SOURCE:,} characters at most")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8: byte {error.start + 1} is wrong", hint="save it as UTF-8") from None


def _places(file: str | None, html: str | None) -> dict[str, str]:
    return {part: name for part, name in (("body", file), ("html", html)) if name}


def _json(crm: CRM, template: MessageTemplate) -> dict[str, Any]:
    shown: dict[str, Any] = record_json(crm.registry.types["message_template"], template)
    return {**shown, "direction": direction_of(template.language)}
