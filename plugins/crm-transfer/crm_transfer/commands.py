"""`crm import` and `crm export`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from crm_core.console import (
    clean,
    confirm,
    emit,
    examples,
    note,
    on_terminal,
    progress,
    say,
    session,
    table,
    workspace,
    yes_option,
)
from crm_core.errors import CrmError, UsageError
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.console import Progress as Bar
    from crm_transfer.mapping import Conflict
    from crm_transfer.report import Counts, ImportReport
    from crm_transfer.run import Progress

_SHOWN = 10
_REJECTED = 3
_RECENT = 20
_CHANGES = 50
"""How many changes and conflicts of an edited export are printed; --json has more."""


@click.command(
    "import",
    epilog=examples(
        "crm import --suggest customers customers.csv > customers.toml",
        "crm import customers customers.csv --map customers.toml --dry-run",
        "crm import customers edited-export.csv --update --dry-run",
        "crm import --plan examples/sales_team/maven.toml --data data/maven_crm",
        "crm import --resume 5XK3Q",
    ),
)
@click.argument("type_name", metavar="[TYPE", required=False)
@click.argument("file", metavar="FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--map", "mapping", metavar="TOML", type=click.Path(path_type=Path), help="What the columns mean.")
@click.option("--plan", metavar="TOML", type=click.Path(path_type=Path), help="Several files with their mappings.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), help="Where the files of the plan are.")
@click.option("--suggest", is_flag=True, help="Print a mapping made from the file's own content.")
@click.option("--update", is_flag=True, help="The file is an export of ours, edited: write the changed cells.")
@click.option("--encoding", metavar="NAME", help="With --suggest or --update: the encoding, such as windows-1252.")
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

    An import is one operation: importing the same file again changes nothing, `crm ledger undo` takes it back.
    Rows that cannot be taken go to a file beside theirs, with the reason: correct them there and import that file with
    the same mapping. The exit code is 3 when there are any.
    """
    given = _Given(
        type_name,
        file,
        mapping,
        plan,
        data,
        suggest,
        update,
        encoding,
        resume,
        dry_run,
        _policies(conflicts),
        yes,
        rejects,
    )
    with workspace() as crm:
        given = given.checked(crm)
        if given.suggest:
            _suggest(crm, given)
            return None
        if given.update and not given.dry_run and not given.yes and on_terminal() and not session().json:
            _show_diff(_run(crm, attrs.evolve(given, dry_run=True)))
            confirm("Write these changes?", undoable=True)
        report = _run(crm, given)
        emit(report.to_json(), lambda: _show(report))
    return _REJECTED if report.counts.rejected else None


@attrs.frozen
class _Given:
    """What the command was given."""

    type_name: str | None
    file: Path | None
    mapping: Path | None
    plan: Path | None
    data: Path | None
    suggest: bool
    update: bool
    encoding: str | None
    resume: str | None
    dry_run: bool
    policies: Mapping[str, Conflict]
    yes: bool
    rejects: Path | None

    def checked(self, crm: CRM) -> _Given:
        """Return what was given, `update` set where the file is an export of ours.

        Raises:
            UsageError: it does not go together.
        """
        ways = sum([bool(self.mapping), bool(self.plan), self.suggest, bool(self.resume), self.update])
        if ways == 0 and self.type_name and self.file and _is_export(crm, self.file):
            return attrs.evolve(self, update=True).checked(crm)
        if ways != 1:
            raise UsageError(
                "say how the columns are to be read: --map, --plan, --suggest, --update or --resume, one of them",
                hint=f"crm import --suggest {self.type_name or 'customers'} {self.file or 'FILE'} "
                "prints a mapping to start from",
            )
        if (self.mapping or self.suggest or self.update) and (not self.type_name or self.file is None):
            raise UsageError(
                "name the record type and the file", hint="crm import customers customers.csv --map customers.toml"
            )
        if (self.plan or self.resume) and self.type_name:
            raise UsageError(
                f"{self.type_name!r} has no place here: a plan names its files, and --resume the operation"
            )
        if self.encoding and not (self.suggest or self.update):
            raise UsageError(
                "--encoding is for --suggest and --update",
                hint='in a mapping it stands under [file]: encoding = "windows-1252"',
            )
        if self.policies and not (self.mapping or self.update):
            raise UsageError("--conflict is for --map and --update", hint="the mappings of a plan say it themselves")
        return self


def _policies(conflicts: Sequence[str]) -> dict[str, Conflict]:
    """Read `--conflict [FIELD=]POLICY`."""
    from crm_transfer.mapping import CONFLICTS

    found: dict[str, Conflict] = {}
    for given in conflicts:
        field, _, wanted = given.rpartition("=")
        policy = next((one for one in CONFLICTS if one == wanted.strip()), None)
        if policy is None:
            raise UsageError(f"--conflict: {wanted!r} is no policy", hint=f"there are: {', '.join(CONFLICTS)}")
        found[field.strip()] = policy
    return found


def _is_export(crm: CRM, file: Path) -> bool:
    """Say whether a file has the columns by which an export can be brought back."""
    from crm_transfer.run import importer_for
    from crm_transfer.update import is_export

    return is_export(importer_for(crm, file).open(file, {}).columns)


@click.command(
    epilog=examples(
        "crm export customers -o customers.csv",
        "crm export deals --where 'status = \"won\"' --columns title,amount,closed_at",
        "crm export customers --format jsonl -o customers.jsonl",
    )
)
@click.argument("type_name", metavar="TYPE")
@click.option("--format", "format_", metavar="FORMAT", help="csv or jsonl; else by the file's name, else csv.")
@click.option("--where", metavar="FILTER", help="Only those that match.")
@click.option("--columns", metavar="FIELDS", default="", help="Fields parted by commas; without it all.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Else standard output.")
def export(type_name: str, format_: str | None, where: str | None, columns: str, output: Path | None) -> None:
    """Write records to a file or to standard output, page by page.

    A text that a spreadsheet would run as a formula gets an apostrophe in front; importing takes it away again.
    """
    from crm_transfer.exporting import export_records, exporter_for

    with workspace() as crm:
        count = export_records(
            crm,
            type_name,
            exporter=exporter_for(crm, format_, output),
            path=output,
            where=where,
            columns=[name.strip() for name in columns.split(",") if name.strip()],
        )
        if output is not None:
            emit(
                {"type": type_name, "file": str(output), "written": count},
                lambda: say(f"{count:,} {type_name} written to {output}"),
            )


def _suggest(crm: CRM, given: _Given) -> None:
    from crm_transfer.suggest import suggest

    assert given.type_name is not None, "it was checked"
    assert given.file is not None, "it was checked"
    found = suggest(crm, given.type_name, given.file, encoding=given.encoding)
    emit(found.to_json(), lambda: say(found.toml.rstrip()))
    for question in found.questions:
        note(f"To decide: {question}")
    note("Read it, correct it, then: crm import TYPE FILE --map THIS.toml --dry-run")


def _run(crm: CRM, given: _Given) -> ImportReport:
    from crm_transfer.errors import FileFault
    from crm_transfer.importing import import_file, import_plan, resume_import
    from crm_transfer.mapping import load_mapping
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
            assert given.type_name is not None, "it was checked"
            assert given.file is not None, "it was checked"
            policies, options = given.policies, {"encoding": given.encoding} if given.encoding else {}
            if given.mapping is None:
                return update_file(
                    crm,
                    given.type_name,
                    given.file,
                    options=options,
                    dry_run=dry_run,
                    progress=told,
                    rejects=rejects,
                    policies=policies,
                )
            read = load_mapping(given.mapping)
            wanted = crm.registry.named(given.type_name).name
            if wanted not in {crm.registry.named(each.type).name for each in read.records}:
                raise UsageError(
                    f"{given.mapping} makes no {given.type_name}", hint="name a type that one of its [[record]] has"
                )
            return import_file(
                crm, given.file, read, dry_run=dry_run, progress=told, rejects=rejects, policies=policies
            )
        except (Exception, KeyboardInterrupt) as error:
            refused = going_on is not None and isinstance(error, (FileFault, UsageError))
            if not dry_run and not refused:
                with suppress(CrmError):  # a storage that fails may not even tell what was begun
                    _say_how_to_go_on(crm, begun)
            raise


def _telling(bar: Bar) -> Progress:
    def told(done: int, total: int, name: str) -> None:
        bar.total, bar.label = total, name
        bar.advance(done - bar.done)

    return told


def _say_how_to_go_on(crm: CRM, begun: Collection[int]) -> None:
    """Name the import that was cut off just now, not one of those that had begun before."""
    newest = next((e for e in crm.ledger.operations(limit=_RECENT) if e.kind == "import"), None)
    if newest is None or newest.id in begun or newest.state not in ("incomplete", "open"):
        return
    name = format_id(newest.id)
    note(f"{newest.label} was cut off. Finish it: crm import --resume {name}. Undo it: crm ledger undo {name}")


def _show(report: ImportReport) -> None:
    """Print the report for a person: counts by file and type, the traps, the first rejected rows, the next step."""
    for file in report.files:
        say(f"{clean(file.file)}: {_told(file.counts)}")
        for remark in file.notes:
            say(f"  {clean(remark)}")
    _show_diff(report)
    _types(report.types)
    _show_kept(report)
    for remark in report.notes:
        say(f"Note: {remark}")
    for error in report.errors[:_SHOWN]:
        say(f"rejected: {clean(str(error))}")
    hidden = report.counts.rejected - min(_SHOWN, len(report.errors))
    if hidden > 0:
        say(f"... and {hidden:,} more rejected rows")
    for file in report.files:
        if file.rejects_file:
            say(f"Rejected rows are in {clean(file.rejects_file)}.")
            say("Correct them there, then import that file with the same mapping.")
    rate = report.counts.read / report.seconds if report.seconds else 0
    took = f"{report.counts.read:,} rows in {report.seconds:.1f} s ({rate:,.0f} rows/s)"
    if report.dry_run:
        say(f"Dry run: {took}; nothing was written.")
    elif any(counts.created or counts.updated for counts in report.types.values()):
        say(f"{took}. To take it back: crm ledger undo {format_id(report.operation or 0)}")
    else:
        say(f"{took}; nothing had to be changed.")


def _show_diff(report: ImportReport) -> None:
    """Print what an edited export changes: field by field, old and new, then what clashes."""
    for file in report.files:
        if file.diff is None:
            continue
        for edit in file.diff.changes[:_CHANGES]:
            say(clean(f"{file.file}, {edit}"))
        hidden = sum(file.diff.fields.values()) - min(_CHANGES, len(file.diff.changes))
        if hidden > 0:
            by_field = ", ".join(f"{name} ({count:,})" for name, count in file.diff.fields.most_common(10))
            say(f"... and {hidden:,} more changed fields; all of them by field: {by_field}")
        for clash in file.diff.clashes[:_CHANGES]:
            say(clean(f"conflict: {file.file}, {clash}"))
        if file.diff.clashing > _CHANGES:
            say(f"... and {file.diff.clashing - _CHANGES:,} more conflicts")
        if file.diff.kept:
            say("To take the file's word for a field: --conflict FIELD=overwrite (or fill, where the CRM has nothing)")
        if file.diff.created:
            shown = ", ".join(str(row) for row in file.diff.new_rows[:_SHOWN])
            more = " ..." if file.diff.created > _SHOWN else ""
            say(f"new: {file.diff.created:,} rows without an id make new records (row {shown}{more})")


def _show_kept(report: ImportReport) -> None:
    """Print which fields stayed as they are in the CRM."""
    counts = report.kept_fields
    if not counts:
        return
    listed = ", ".join(f"{kind}.{field} ({count:,})" for (kind, field), count in counts.most_common(10))
    say(f"{sum(counts.values()):,} fields kept as they are in the CRM, as their policy says: {listed}")
    for one in [kept for file in report.files for kept in file.kept][:_SHOWN]:
        by = f", edited by {one.by}" if one.by else ", edited since the last import" if one.at else ""
        say(f"kept: {one.file}, row {one.row}: {one.type} {one.field} stays {one.kept!r}; the file: {one.value!r}{by}")
    say('To take the file\'s word for a field: --conflict FIELD=overwrite, or conflict = "overwrite" in the mapping')


def _types(types: dict[str, Counts]) -> None:
    heads = ["records", "read", "created", "updated", "unchanged", "rejected"]
    rows = [[name, *(f"{number:,}" for number in counts.to_json().values())] for name, counts in types.items()]
    if rows and not session().json:
        table(heads, rows)


def _told(counts: Counts) -> str:
    parts = ", ".join(f"{number:,} {status}" for status, number in counts.to_json().items() if status != "read")
    return f"{counts.read:,} rows read = {parts}"
