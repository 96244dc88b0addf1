"""`crm run`: workers that tell plugins what happened, until they are asked to end, or once."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import click

from crm_core.cli.app import lenient_settings
from crm_core.cli.standing import standing_json, standing_table
from crm_core.console import emit, examples, moment, note, plural, say, session, workspace_place
from crm_core.console.options import Number
from crm_core.ledger.leases import CALL_SECONDS

if TYPE_CHECKING:
    from types import FrameType

    from crm_core.ledger.telling import Failure, Told
    from crm_core.services.jobs import JobOutcome
    from crm_core.upkeep import RunReport, Trouble, Workers

_MOST = 64
_INTERRUPTED = 130


@click.command(
    epilog=examples(
        "crm run                           until Ctrl-C, or SIGTERM of a service manager",
        "crm run --once                    what is due now, for cron",
        "crm run --workers 4 --every 0.2   several at once, and looking more often",
    )
)
@click.option(
    "--once", is_flag=True, help="End when nothing is due any more; the exit code is 1 when something failed."
)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="How often to look for what happened.",
)
@click.option("--workers", type=Number(1, _MOST), default=1, show_default=True, help="Processes that share the work.")
@click.option(
    "--deadline",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 86_400),
    default=CALL_SECONDS,
    show_default=True,
    help="How long one call of a plugin may take before its process is ended and the call counts as failed.",
)
@click.pass_context
def run(context: click.Context, once: bool, every: float, workers: int, deadline: float) -> None:
    """Tell the plugins that listen what happened, in order, each transaction at least once.

    What fails is tried again after 1, 10, 60 and 600 seconds, then given up on and shown; crm plugins retry tells it
    again. Several `crm run`, on several machines too, share the work. Ctrl-C and SIGTERM end it after what is under
    way, a second one at once. Start it again after plugins were installed, detached or upgraded.

    With --json each thing that happens is one JSON object a line; with --once it is one document at the end.
    """
    from crm_core.upkeep import Workers

    news = _News(quiet=once and session().json)
    crew = Workers(
        workspace_place(),
        user=session().user,
        count=workers,
        every=every,
        once=once,
        deadline=deadline,
        tell=news.tell,
    )
    if not once:
        news.line("started", f"{plural(workers, 'worker')} at work; Ctrl-C ends it", workers=workers)
    with _asked_to_end(crew, news) as asked:
        report = crew.run()
    if once:
        _show_once(report, news)
    else:
        news.line("ended", f"ended; {plural(report.delivered, 'transaction')} told", delivered=report.delivered)
    if signal.SIGINT in asked:
        context.exit(_INTERRUPTED)
    if once and report.failures:
        context.exit(1)


class _News:
    """Prints what happens as it happens; keeps it for the document of `--once --json`."""

    def __init__(self, *, quiet: bool) -> None:
        self.told: list[Told] = []
        self.failures: list[Failure] = []
        self.jobs: list[JobOutcome] = []
        self._quiet = quiet
        self._zone = lenient_settings().zone

    def tell(self, news: Told | Failure | JobOutcome | Trouble) -> None:
        """Take in one thing that happened."""
        from crm_core.ledger.telling import Failure, Told
        from crm_core.services.jobs import JobOutcome

        content = attrs.asdict(news)
        if isinstance(news, Told):
            self.told.append(news)
            what = f"told of {plural(news.transactions, 'transaction')}, up to position {news.position:,}"
            self.line("told", f"{news.plugin}.{news.hook}: {what}", **content)
        elif isinstance(news, Failure):
            self.failures.append(news)
            self.line("failed", f"{news.error}; {_fate(news)}", **content)
        elif isinstance(news, JobOutcome):
            self.jobs.append(news)
            fate = "" if news.again_in is None else f"; tried again in {news.again_in:g} s"
            words = "; ".join(each for each in (news.told, news.error) if each)
            self.line("job", f"{news.job} {news.part}: {words}{fate}", **content)
        elif self._quiet:
            note(news.text)
        else:
            self.line("trouble", news.text + (f"; {news.hint}" if news.hint else ""), **content)

    def line(self, kind: str, words: str, **content: Any) -> None:
        """Print one line, for a person or for a program."""
        if self._quiet:
            return
        now = datetime.now(UTC).astimezone(self._zone)
        if session().json:
            click.echo(json.dumps({"kind": kind, "at": now.isoformat(), **content}, ensure_ascii=False))
        else:
            say(f"{moment(now, self._zone, seconds=True)}  {words}")


def _fate(failure: Failure) -> str:
    place = f"position {failure.position:,}"
    if failure.again_in is not None:
        return f"{place} is tried again in {failure.again_in} s"
    given_up = f"{place} is given up on after {plural(failure.attempts, 'attempt')}"
    return f"{given_up}; crm plugins retry {failure.plugin} tells it again"


@contextmanager
def _asked_to_end(crew: Workers, news: _News) -> Iterator[list[int]]:
    """End after what is under way at the first signal, at once at the second; yields the signals that came."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        news.line("ending", "ending after what is under way; once more ends it at once")
        crew.stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_once(report: RunReport, news: _News) -> None:
    from crm_core.upkeep import standings_of

    found = [one for one in standings_of(workspace_place()) if one.behind or one.attempts or one.parked]
    data = {
        "delivered": report.delivered,
        "told": [attrs.asdict(one) for one in news.told],
        "failures": [attrs.asdict(one) for one in news.failures],
        "jobs": [attrs.asdict(one) for one in news.jobs],
        "waiting": [standing_json(one) for one in found],
    }

    def show() -> None:
        if not report.listened:
            say("no plugin listens: there is nobody to tell")
        say(f"{plural(report.delivered, 'transaction')} told, {plural(report.failures, 'failure')}")
        standing_table(found)

    emit(data, show)
