"""Commands, file formats and data migrations: what plugins add around the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import attrs

from crm_core.extend.channel import Address, Attachment
from crm_core.records import Record


@attrs.frozen(kw_only=True)
class Command:
    """A command of `crm`: `target` ("package.module:attribute") names a click command, imported only when it is run.

    A `name` of two words adds it to a group of the kernel: `customers duplicates` is `crm customers duplicates`. Such
    groups are `customers`, `deals`, `interactions` and `sales`.
    """

    name: str
    help: str
    target: str


@attrs.frozen
class SourceRow:
    """One row of a file: the line it starts on, counted from 1, and its cells, one for each source column."""

    number: int
    cells: Sequence[str]


@attrs.frozen
class BadRow:
    """A row that could not be read: its line, what could be saved of its cells, the rule it breaks, and the message."""

    number: int
    cells: Sequence[str]
    rule: str
    message: str
    column: str = ""
    value: str = ""


@attrs.frozen(kw_only=True)
class Source:
    """An open file, checked as a whole: its columns, what was found of its form in words, its rows, streamed.

    `guesses` says, by topic (encoding, delimiter), what the file was taken for; `total` is how many rows there are;
    `digest` is the SHA-256 of its bytes; `options` are those it was opened with, guesses filled in; `own` are columns
    that the importer adds to those of the file, which a mapping may use and nobody misses.
    """

    columns: tuple[str, ...]
    guesses: Mapping[str, str]
    rows: Iterator[SourceRow | BadRow]
    total: int
    digest: str
    options: Mapping[str, Any]
    own: tuple[str, ...] = ()


class OpenSource(Protocol):
    """How an importer opens a file; a fault of the whole file raises here.

    `options` come from the mapping's `[file]` table. A format whose cells have types finds in `forms`, by column, how
    the mapping reads their numbers (`decimal`) and dates (`dates`); it writes them so.
    """

    def __call__(self, path: Path, options: Mapping[str, Any]) -> Source: ...


class WriteBack(Protocol):
    """How an importer writes rows in the form it reads, so that rejected rows can be corrected and imported again."""

    def __call__(
        self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
    ) -> None: ...


@attrs.frozen(kw_only=True)
class Importer:
    """A format that `crm import` reads, or what another program exports: then it knows what its columns mean.

    It is chosen by `format` in the mapping or `--format`, else by `recognises`, which is shown the first 64 KiB of
    a file, else by the ending of the file's name (which comes first where a person gave a mapping). `mapping`
    returns the TOML of a mapping for the columns of a file: with it a file needs no `--map`, and `--suggest` prints
    it.
    """

    name: str
    suffixes: tuple[str, ...]
    open: OpenSource
    write: WriteBack
    help: str = ""
    recognises: Callable[[bytes], bool] | None = None
    mapping: Callable[[Sequence[str]], str] | None = None


@attrs.frozen
class ExportColumn:
    """A column of an export: its name, the kind of its field (text, integer, decimal, day, moment, ...), decimals.

    `scale` is how many digits after the point a decimal or an amount of money may have.
    """

    name: str
    kind: str = "text"
    scale: int = 0


@attrs.frozen(kw_only=True)
class Exporter:
    """A format that `crm export` writes: `write(path, columns, rows)` returns how many rows; no path: to stdout.

    Cells are plain JSON data, or with `typed` Python values: `Decimal`, `date`, aware `datetime`, `bool`, tuples of
    texts. Money is one cell {"amount", "currency"} where the format is `nested`, else two cells. What is written is
    `binary` if it does no good on a terminal; `write` is then always given a path.

    A format for some record types only names them in `columns`, each with the columns that are written when nobody
    chooses any; beside fields these may be the records that are part of one, such as `contact_points`: a list of
    mappings.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Callable[[Path | None, Sequence[ExportColumn], Iterable[Sequence[Any]]], int]
    nested: bool = False
    typed: bool = False
    binary: bool = False
    columns: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    help: str = ""


def _unheard(done: JobDone) -> None:
    """Nobody listens: the run is one that ends."""


@attrs.frozen(kw_only=True)
class JobRun:
    """One run of a part of a job.

    Args:
        crm: the open CRM.
        part: the part.
        stopping: says when the run should come to an end: when `crm run` ends, or half of its deadline is over.
        stays: whether it may go on until then, in a thread of its own; it then calls
        note: with what was done since the last time, at the latest after
        pause: so many seconds. Whoever is silent for longer than that and the deadline of `crm run` counts as hanging.
    """

    crm: Any
    part: str
    stopping: Callable[[], bool]
    stays: bool = False
    note: Callable[[JobDone], None] = _unheard
    pause: float = 0.0


@attrs.frozen(kw_only=True)
class JobDone:
    """What a run came to.

    `told` says it in words for the log, empty when there was nothing to do; `again_in` is the number of seconds until
    the part is due again, None for its own pause; `trouble` says what is wrong although it did its work, and is shown
    until a run comes to an end without.
    """

    told: str = ""
    again_in: float | None = None
    trouble: str = ""


@attrs.frozen(kw_only=True)
class Job:
    """Work that `crm run` does again and again, such as polling a mailbox; each part by one worker at a time.

    `parts(crm)` names the parts, such as accounts, each with the seconds between two runs. A part has its own back-off:
    one that fails (raises) is tried again after 1, 10, 60, 600 seconds, or after the delay that a `TryLater` names, and
    stops no other. `waiting(crm, part)`, if given, says cheaply whether there is anything to do. A run ends when
    `JobRun.stopping` says so, with `again_in=0` where more is to do, and is ended by force when it exceeds the deadline
    of `crm run`; what it had not finished the next one must be able to do again.

    `stays(crm, part)`, if given, says of which parts a run may last, such as that of an account that listens: in `crm
    run` each has a thread of its own, so that one which hangs keeps nobody waiting (see `JobRun.stays`). No thread can
    be ended by force: a run that hangs is told as failed, and begun anew beside the one that hangs.

    `apart`: in `crm run` the runs of the other parts have a thread of their own as well, each until it is done, so that
    a slow one keeps neither another part nor any other job waiting.
    """

    name: str
    help: str
    parts: Callable[[Any], Mapping[str, float]]
    run: Callable[[JobRun], JobDone]
    waiting: Callable[[Any, str], bool] | None = None
    stays: Callable[[Any, str], bool] | None = None
    apart: bool = False


@attrs.frozen(kw_only=True)
class Service:
    """What a plugin does for other plugins: `open(crm)` makes it for one CRM, when `crm.service(name)` first asks.

    Whoever uses it knows it by its name and need not import the plugin. A name that the kernel has a protocol for, such
    as `outbox`, keeps to that.
    """

    name: str
    help: str
    open: Callable[[Any], Any]


class Outbox(Protocol):
    """The service "outbox": how any plugin has a message leave; `crm.outbox`."""

    def send(
        self,
        text: str = "",
        *,
        customer: int | None = None,
        account: str = "",
        to: Address | None = None,
        subject: str = "",
        html: str = "",
        template: str = "",
        values: Mapping[str, Any] = ...,
        attachments: Sequence[Attachment] = (),
        headers: Mapping[str, str] = ...,
        purpose: str = "service",
        automatic: bool = False,
        not_before: datetime | None = None,
        once: str = "",
    ) -> Record:
        """Put a message into the outbox; `crm run` sends it, if it may leave then.

        Args:
            text: what it says.
            customer: whom it is for, by id.
            account: by which account; without it the first that reaches the customer.
            to: the address; without it the customer's primary one.
            subject: its subject, one line.
            html: the same as HTML, for channels that show it.
            template: the name of a template that says it, in the customer's language, in place of `text`.
            values: further names that the template may use: texts and numbers.
            attachments: files that go with it.
            headers: further headers, by name, for channels that have such.
            purpose: what consent is looked up for; "service" needs none.
            automatic: whether no person wrote it.
            not_before: when it may leave at the earliest.
            once: a text of which the outbox holds one message at most, so that a hook that is called twice sends once.

        Returns:
            The record of the message in the outbox.

        Raises:
            NotFound: nothing reaches them, or there is no such template.
            UsageError: there is nothing to say, or nobody to say it to.
            InvalidValue: a header or the subject is not one line, or the template uses what is not known.
            DuplicateKey: the outbox holds a message with the same `once`.
        """


@attrs.frozen(kw_only=True)
class DataMigration:
    """A change of stored values when the plugin's schema goes from version `from_version` to `to_version`.

    `change` receives rows (mappings of `columns` and `id`) of one chunk and returns, by id, the cells that change. It
    must give the same answer when run twice: an interrupted upgrade runs it again.
    """

    owner: str
    from_version: str
    to_version: str
    table: str
    columns: tuple[str, ...]
    change: Callable[[Sequence[Mapping[str, Any]]], Mapping[int, Mapping[str, Any]]]
