"""Options that many commands share, so that they are spelt and explained alike everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from crm_core.errors import InvalidValue, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def examples(*lines: str) -> str:
    """Write the `epilog` of a command: examples of its use, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def list_options(command: F) -> F:
    """Add `--where --sort --limit --after`, passed on under these names."""
    for option in (
        click.option("--after", metavar="CURSOR", help="Read on after the cursor that the page before ended with."),
        click.option("--limit", type=Number(1, 100_000), default=50, show_default=True, help="At most so many."),
        click.option("--sort", metavar="FIELDS", help='Order, such as "-amount,title"; - turns it around.'),
    ):
        command = option(command)
    return where_option("""Only those that match, such as 'country = "DE"'.""")(command)


def where_option(help_: str) -> Callable[[F], F]:
    """Make `--where`, passed on as `where`; given several times, all of them must hold."""

    def joined(context: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str | None:
        given = [text for text in value if text.strip()]
        return " and ".join(f"({text})" for text in given) if len(given) > 1 else given[0] if given else None

    return click.option("--where", metavar="FILTER", multiple=True, callback=joined, help=help_)


def by_option(command: F) -> F:
    """Add `--by`, passed on as `by`: a list of dimensions, or None."""

    def listed(context: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
        return [name for text in value for name in text.replace(" ", "").split(",") if name] or None

    return click.option(
        "--by",
        metavar="DIMENSIONS",
        multiple=True,
        callback=listed,
        help="Group by owner, team, source, country ...; several by commas.",
    )(command)


@contextmanager
def reading_options() -> Iterator[None]:
    """Whatever value turns out not to be understood inside came from an option: wrong usage, not a failure.

    Raises:
        UsageError: in place of an `InvalidValue`.
    """
    try:
        yield
    except InvalidValue as error:
        raise UsageError(error.message, hint=error.hint) from error


def as_of_option(command: F) -> F:
    """Add `--as-of`, passed on as `as_of`: text of a day or a time."""
    return click.option("--as-of", metavar="TIME", help="Answer as if it were then: 2026-11-30 or 2026-11-30T14:00.")(
        command
    )


def period_option(command: F) -> F:
    """Add `--period`, passed on as `period`: text of a period."""
    return click.option(
        "--period", "-p", metavar="PERIOD", help='Such as 2026-11, 2017-Q2, 2026, "last 90 days"; all time without it.'
    )(command)


def yes_option(command: F) -> F:
    """Add `--yes`, passed on as `yes`."""
    return click.option("--yes", "-y", is_flag=True, help="Do it without asking.")(command)


class Number(click.IntRange):
    """A whole number within limits, in the digits of any script."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the digits of any script, then check the limits."""
        from crm_core.values import ascii_digits

        typed: Any = ascii_digits(value) if isinstance(value, str) else value
        return super().convert(typed, param, ctx)
