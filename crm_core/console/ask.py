"""Questions to the person at the terminal; where nobody sits there, what can be undone goes on without them."""

from __future__ import annotations

import sys

import click

from crm_core.errors import UsageError


def confirm(question: str, *, yes: bool = False, undoable: bool = False) -> None:
    """Go on only when the person agrees.

    Standard input is read only at a terminal: in a script it may be the list that the script works through.

    Args:
        question: what is about to happen, as a question.
        yes: the answer given beforehand.
        undoable: whether `crm ledger undo` takes it back; then nobody at the terminal means yes.

    Raises:
        UsageError: nobody is there to ask.
        click.Abort: the person said no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        if undoable:
            return
        raise UsageError(f"{question} Nobody is there to answer.", hint="--yes answers beforehand")
    click.confirm(question, abort=True, err=True)
