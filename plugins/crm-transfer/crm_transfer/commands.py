"""`crm import` and `crm export`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from crm_core.console import (
    confirm,
    emit,
    examples,
    note,
    on_terminal,
    progress,
    say,
    session,
    workspace,
    yes_option,
)
from crm_core.errors import CrmError, UsageError
from crm_core.values import format_id
from crm_transfer.telling import show, show_diff

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.console import Progress as Bar
    from crm_transfer.mapping import RowMapping
    from crm_transfer.policies import Conflict
    from crm_transfer.report import ImportReport
    from crm_transfer.run import Progress

_REJECTED = 3
_RECENT = 20


@click.command(
    "import",
    epilog=examples(
        "crm import --suggest customers customers.csv > customers.toml",
        "crm import customers customers.csv --map customers.toml --dry-run",
        "crm import customers people.vcf",
        "crm import customers book.xlsx --sheet Clients --map customers.toml",
        "crm import customers edited-export.csv --update --dry-run",
        "crm import --plan examples/sales_team/maven.toml --data data/maven_crm",
        "crm import --resume 5XK3Q",
    ),
)
@click.argument("type_name", metavar="[TYPE", required=False)
@click.argument("file", metavar="FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--map", "mapping", metavar="TOML", type=click.Path(path_type=Path), help="What the columns mean.")
@click.option("--format", "format_", metavar="NAME", help="What the file is, where its content does not show it.")
@click.option("--sheet", metavar="NAME", help="The sheet of a spreadsheet; else the first one.")
@click.option("--plan", metavar="TOML", type=click.Path(path_type=Path), help="Several files with their mappings.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), help="Where the files of the plan are.")
@click.option("--suggest", is_flag=True, help="Print a mapping made from the file's own content.")
@click.option("--update", is_flag=True, help="The file is an export of ours, edited: write the changed cells.")
@click.option(
    "--encoding", metavar="NAME", help="Of a file that is not UTF-8, such as windows-1252, when there is no --map."
)
@click.option("--resume", metavar="OPERATION", help="Finish an import that was cut off.")
@click.option("--dry-run", is_flag=True, help="Check and count everything, write nothing.")
@click.option(
    "--conflict",
    "conflicts",
    metavar="[FIELD=]POLICY",
    multiple=True,
    help="Who wins where a record says something else: keep_edited (a person's edit stays; the default), keep, "
    "overwrite, newest, fill. For one field, or for all.",
)
@yes_option
@click.option("--rejects", metavar="DIR", type=click.Path(path_type=Path), help="Where files of rejected rows go.")
def import_(
    type_name: str | None,
    file: Path | None,
    mapping: Path | None,
    format_: str | None,
    sheet: str | None,
    plan: Path | None,
    data: Path | None,
    suggest: bool,
    update: bool,
    encoding: str | None,
    resume: str | None,
    dry_run: bool,
    conflicts: tuple[str, ...],
    yes: bool,
    rejects: Path | None,
) -> int | None:
    """Bring records in from a file, or several by a plan.

    Contacts (vCards, what Google and Outlook export) and other formats that know their columns need no --map.

    An import is one operation: importing the same file again changes nothing, `crm ledger undo` takes it back.
    Rows that cannot be taken go to a file beside theirs, with the reason: correct them there and import that file with
    the same mapping. The exit code is 3 when there are any.
    """
    given = _Given(
        type_name=type_name,
        file=file,
        mapping=mapping,
        format_=format_ or "",
        options={name: value for name, value in (("sheet", sheet), ("encoding", encoding)) if value},
        plan=plan,
        data=data,
        suggest=suggest,
        update=update,
        resume=resume,
        dry_run=dry_run,
        policies=_policies(conflicts),
        rejects=rejects,
    )
    given.check()
    with workspace() as crm:
        if given.suggest:
            _suggest(crm, given)
            return None
        if given.is_bare and _is_export(crm, given):
            given = attrs.evolve(given, update=True)
        if given.update and not (dry_run or yes or session().json) and on_terminal():
            show_diff(_run(crm, attrs.evolve(given, dry_run=True)))
            confirm("Write these changes?", undoable=True)
        report = _run(crm, given)
        emit(report.to_json(), lambda: show(report))
    return _REJECTED if report.counts.rejected else None


@attrs.frozen(kw_only=True)
class _Given:
    """What the command was given: `options` are those that a mapping would have under `[file]`."""

    type_name: str | None
    file: Path | None
    mapping: Path | None
    format_: str
    options: Mapping[str, str]
    plan: Path | None
    data: Path | None
    suggest: bool
    update: bool
    resume: str | None
    dry_run: bool
    policies: Mapping[str, Conflict]
    rejects: Path | None

    @property
    def named(self) -> tuple[str, Path]:
        """The record type and the file."""
        assert self.type_name is not None, "it was checked"
        assert self.file is not None, "it was checked"
        return self.type_name, self.file

    @property
    def is_bare(self) -> bool:
        """Whether nothing says how a file is to be read, so that the file has to."""
        return not (self.mapping or self.plan or self.suggest or self.resume or self.update)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: it does not.
        """
        if sum([bool(self.mapping), bool(self.plan), self.suggest, bool(self.resume), self.update]) > 1:
            raise UsageError(
                "say how the columns are to be read: --map, --plan, --suggest, --update or --resume, one of them",
                hint="crm import --help shows an example of each",
            )
        no_file = self.plan or self.resume
        if not no_file and (not self.type_name or self.file is None):
            raise UsageError(
                "name the record type and the file", hint="crm import customers customers.csv --map customers.toml"
            )
        if no_file and (self.type_name or self.format_ or self.options):
            options = [f"--{name}" for name in self.options]
            given = next(each for each in (self.type_name, self.format_ and "--format", *options) if each)
            raise UsageError(f"{given!r} has no place here: a plan names its files, and --resume the operation")
        if "encoding" in self.options and self.mapping:
            raise UsageError(
                "--encoding is for a file without --map",
                hint='in a mapping it stands under [file]: encoding = "windows-1252"',
            )
        if self.policies and (no_file or self.suggest):
            raise UsageError(
                "--conflict is for a file with its mapping, or --update", hint="the mappings of a plan say it"
            )


def _policies(conflicts: Sequence[str]) -> dict[str, Conflict]:
    """Read `--conflict [FIELD=]POLICY`."""
    from crm_transfer.policies import CONFLICTS

    found: dict[str, Conflict] = {}
    for given in conflicts:
        field, _, wanted = given.rpartition("=")
        policy = next((one for one in CONFLICTS if one == wanted.strip()), None)
        if policy is None:
            raise UsageError(f"--conflict: {wanted!r} is no policy", hint=f"there are: {', '.join(CONFLICTS)}")
        found[field.strip()] = policy
    return found


def _is_export(crm: CRM, given: _Given) -> bool:
    """Say whether a file has the columns by which an export can be brought back."""
    from crm_transfer.opening import importer_for, open_source
    from crm_transfer.update import is_export

    _, file = given.named
    importer = importer_for(crm, file, given.format_)
    return importer.mapping is None and is_export(open_source(importer, file, given.options).columns)


@click.command(
    epilog=examples(
        "crm export customers -o customers.csv",
        "crm export deals --where 'status = \"won\"' --columns title,amount,closed_at --sort -amount -o won.xlsx",
        "crm export customers --segment abc=A -o best.vcf",
    )
)
@click.argument("type_name", metavar="TYPE")
@click.option("--format", "format_", metavar="NAME", help="csv, jsonl, xlsx ...; else by the file's name, else csv.")
@click.option("--where", metavar="FILTER", help="Only those that match.")
@click.option("--segment", "segments", metavar="NAME=LABEL", multiple=True, help="Only customers of that group: abc=A.")
@click.option("--columns", metavar="FIELDS", default="", help="Fields parted by commas; without it all.")
@click.option("--sort", metavar="FIELDS", default="", help="The order: -amount,name.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Else standard output.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def export(
    type_name: str,
    format_: str | None,
    where: str | None,
    segments: tuple[str, ...],
    columns: str,
    sort: str,
    output: Path | None,
    force: bool,
) -> None:
    """Write records to a file or to standard output, page by page.

    A file is written whole or not at all, and one that is there is replaced only with --force. A text that a
    spreadsheet would run as a formula gets an apostrophe in front; importing takes it away again. With --json and
    neither --format nor --output the records are one JSON array; JSON lines are --format jsonl.
    """
    from crm_transfer.exporting import JSON_ARRAY_EXPORT, export_records, exporter_for

    as_array = session().json and format_ is None and output is None
    with workspace() as crm, progress(None, "exporting") as bar:
        count = export_records(
            crm,
            type_name,
            exporter=JSON_ARRAY_EXPORT if as_array else exporter_for(crm, format_, output),
            path=output,
            where=where,
            segments=segments,
            columns=[name.strip() for name in columns.split(",") if name.strip()],
            sort=sort,
            force=force,
            progress=lambda done, total: _advance(bar, done, total),
        )
    if output is not None:
        emit(
            {"type": type_name, "file": str(output), "written": count},
            lambda: say(f"{count:,} {type_name} written to {output}"),
        )


def _suggest(crm: CRM, given: _Given) -> None:
    from crm_transfer.suggest import suggest

    type_name, file = given.named
    encoding, sheet = given.options.get("encoding"), given.options.get("sheet")
    found = suggest(crm, type_name, file, encoding=encoding, sheet=sheet, format_=given.format_)
    emit(found.to_json(), lambda: say(found.toml.rstrip()))
    for question in found.questions:
        note(f"To decide: {question}")
    note("Read it, correct it, then: crm import TYPE FILE --map THIS.toml --dry-run")


def _mapping(crm: CRM, given: _Given) -> RowMapping:
    """Return the mapping of a file: the one that is named, or the one that its format brings."""
    from crm_transfer.mapping import load_mapping
    from crm_transfer.opening import built_in_mapping, with_form

    type_name, file = given.named
    if given.mapping is not None:
        read = with_form(load_mapping(given.mapping), given.format_, given.options)
    else:
        found = built_in_mapping(crm, file, wanted=given.format_, options=given.options)
        if found is None:
            raise UsageError(
                "say how the columns are to be read: --map, --plan, --suggest, --update or --resume, one of them",
                hint=f"crm import --suggest {type_name} {file} prints a mapping to start from",
            )
        read = found
    wanted = crm.registry.named(type_name).name
    if wanted not in {crm.registry.named(each.type).name for each in read.records}:
        raise UsageError(
            f"{given.mapping or read.name} makes no {type_name}", hint="name a type that one of its [[record]] has"
        )
    return read


def _run(crm: CRM, given: _Given) -> ImportReport:
    from crm_transfer.errors import FileFault
    from crm_transfer.importing import import_file, import_plan, resume_import
    from crm_transfer.plan import load_plan
    from crm_transfer.update import update_file

    dry_run, rejects = given.dry_run, given.rejects
    going_on = crm.ledger.resolve(given.resume) if given.resume else None
    begun = {entry.id for entry in crm.ledger.operations(limit=_RECENT)} - {going_on}
    with progress(None, "importing") as bar:
        told = _telling(bar)
        try:
            if going_on is not None:
                if dry_run:
                    raise UsageError("--resume goes on with a real import; it has no --dry-run")
                return resume_import(crm, going_on, progress=told, rejects=rejects)
            if given.plan:
                plan = load_plan(given.plan)
                return import_plan(crm, plan, data=given.data, dry_run=dry_run, progress=told, rejects=rejects)
            type_name, file = given.named
            if given.update:
                return update_file(
                    crm,
                    type_name,
                    file,
                    options={**given.options, **({"format": given.format_} if given.format_ else {})},
                    dry_run=dry_run,
                    progress=told,
                    rejects=rejects,
                    policies=given.policies,
                )
            read = _mapping(crm, given)
            return import_file(
                crm, file, read, dry_run=dry_run, progress=told, rejects=rejects, policies=given.policies
            )
        except (Exception, KeyboardInterrupt) as error:
            refused = going_on is not None and isinstance(error, (FileFault, UsageError))
            if not dry_run and not refused:
                with suppress(CrmError):  # a storage that fails may not even tell what was begun
                    _say_how_to_go_on(crm, begun)
            raise


def _telling(bar: Bar) -> Progress:
    def told(done: int, total: int, name: str) -> None:
        bar.label = name
        _advance(bar, done, total)

    return told


def _advance(bar: Bar, done: int, total: int) -> None:
    bar.total = total
    bar.advance(done - bar.done)


def _say_how_to_go_on(crm: CRM, begun: Collection[int]) -> None:
    """Name the import that was cut off just now, not one of those that had begun before."""
    newest = next((e for e in crm.ledger.operations(limit=_RECENT) if e.kind == "import"), None)
    if newest is None or newest.id in begun or newest.state not in ("incomplete", "open"):
        return
    if next(crm.ledger.changes(newest.id), None) is None:
        note(
            f"{newest.label} was stopped before its first write: nothing was written. The same command begins it again"
        )
        return
    name = format_id(newest.id)
    note(f"{newest.label} was cut off. Finish it: crm import --resume {name}. Undo it: crm ledger undo {name}")
