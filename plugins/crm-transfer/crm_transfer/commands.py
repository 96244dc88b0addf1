"""`crm import` and `crm export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crm_core.console import emit, examples, note, progress, say, session, table, workspace
from crm_core.errors import UsageError
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.console import Progress as Bar
    from crm_transfer.report import Counts, ImportReport
    from crm_transfer.run import Progress

_SHOWN = 10
_REJECTED = 3


@click.command(
    "import",
    epilog=examples(
        "crm import --suggest customers customers.csv > customers.toml",
        "crm import customers customers.csv --map customers.toml --dry-run",
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
@click.option("--encoding", metavar="NAME", help="With --suggest: of a file that is not UTF-8, such as windows-1252.")
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
@click.option("--rejects", metavar="DIR", type=click.Path(path_type=Path), help="Where files of rejected rows go.")
def import_(
    type_name: str | None,
    file: Path | None,
    mapping: Path | None,
    plan: Path | None,
    data: Path | None,
    suggest: bool,
    encoding: str | None,
    resume: str | None,
    dry_run: bool,
    rejects: Path | None,
) -> int | None:
    """Bring records in from a file, or several by a plan.

    An import is one operation: importing the same file again changes nothing, `crm ledger undo` takes it back.
    Rows that cannot be taken go to a file beside theirs, with the reason: correct them there and import that file with
    the same mapping. The exit code is 3 when there are any.
    """
    ways = [bool(mapping), bool(plan), suggest, bool(resume)]
    if sum(ways) != 1:
        raise UsageError(
            "say how the columns are to be read: --map, --plan, --suggest or --resume, one of them",
            hint=f"crm import --suggest {type_name or 'customers'} {file or 'FILE'} prints a mapping to start from",
        )
    if (mapping or suggest) and (not type_name or file is None):
        raise UsageError(
            "name the record type and the file", hint="crm import customers customers.csv --map customers.toml"
        )
    if (plan or resume) and type_name:
        raise UsageError(f"{type_name!r} has no place here: a plan names its files, and --resume the operation")
    if encoding and not suggest:
        raise UsageError(
            "--encoding is for --suggest", hint='in a mapping it stands under [file]: encoding = "windows-1252"'
        )
    if suggest and type_name and file:
        _suggest(type_name, file, encoding)
        return None
    with workspace() as crm:
        report = _run(crm, type_name, file, mapping, plan, data, resume, dry_run=dry_run, rejects=rejects)
        emit(report.to_json(), lambda: _show(report))
    return _REJECTED if report.counts.rejected else None


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


def _suggest(type_name: str, file: Path, encoding: str | None) -> None:
    from crm_transfer.suggest import suggest_mapping

    with workspace() as crm:
        text = suggest_mapping(crm, type_name, file, encoding=encoding)
        emit({"mapping": text}, lambda: say(text.rstrip()))
    note("Read it, correct it, then: crm import TYPE FILE --map THIS.toml --dry-run")


def _run(
    crm: CRM,
    type_name: str | None,
    file: Path | None,
    mapping: Path | None,
    plan: Path | None,
    data: Path | None,
    resume: str | None,
    *,
    dry_run: bool,
    rejects: Path | None,
) -> ImportReport:
    from crm_transfer.importing import import_file, import_plan, resume_import
    from crm_transfer.mapping import load_mapping
    from crm_transfer.plan import load_plan

    with progress(None, "importing") as bar:
        told = _telling(bar)
        try:
            if resume:
                if dry_run:
                    raise UsageError("--resume goes on with a real import; it has no --dry-run")
                return resume_import(crm, crm.ledger.resolve(resume), progress=told, rejects=rejects)
            if plan:
                return import_plan(crm, load_plan(plan), data=data, dry_run=dry_run, progress=told, rejects=rejects)
            if type_name is None or file is None or mapping is None:
                raise UsageError("name the record type, the file and the mapping")
            read = load_mapping(mapping)
            wanted = crm.registry.named(type_name).name
            if wanted not in {crm.registry.named(each.type).name for each in read.records}:
                raise UsageError(f"{mapping} makes no {type_name}", hint="name a type that one of its [[record]] has")
            return import_file(crm, file, read, dry_run=dry_run, progress=told, rejects=rejects)
        except KeyboardInterrupt:
            if not dry_run:
                _say_how_to_go_on(crm)
            raise


def _telling(bar: Bar) -> Progress:
    def told(done: int, total: int, name: str) -> None:
        bar.total, bar.label = total, name
        bar.advance(done - bar.done)

    return told


def _say_how_to_go_on(crm: CRM) -> None:
    cut_off = next((e for e in crm.ledger.operations(limit=5) if e.kind == "import" and e.state == "incomplete"), None)
    if cut_off is not None:
        name = format_id(cut_off.id)
        note(f"\n{cut_off.label} was cut off. Finish it: crm import --resume {name}. Undo it: crm ledger undo {name}")


def _show(report: ImportReport) -> None:
    """Print the report for a person: counts by file and type, the traps, the first rejected rows, the next step."""
    for file in report.files:
        say(f"{file.file}: {_told(file.counts)}")
        for remark in file.notes:
            say(f"  {remark}")
    _types(report.types)
    for remark in report.notes:
        say(f"Note: {remark}")
    for error in report.errors[:_SHOWN]:
        say(f"rejected: {error}")
    hidden = report.counts.rejected - min(_SHOWN, len(report.errors))
    if hidden > 0:
        say(f"... and {hidden:,} more rejected rows")
    for file in report.files:
        if file.rejects_file:
            say(f"Rejected rows are in {file.rejects_file}: correct them, then import that file with the same mapping.")
    rate = report.counts.read / report.seconds if report.seconds else 0
    took = f"{report.counts.read:,} rows in {report.seconds:.1f} s ({rate:,.0f} rows/s)"
    if report.dry_run:
        say(f"Dry run: {took}; nothing was written.")
    elif any(counts.created or counts.updated for counts in report.types.values()):
        say(f"{took}. To take it back: crm ledger undo {format_id(report.operation or 0)}")
    else:
        say(f"{took}; nothing had to be changed.")


def _types(types: dict[str, Counts]) -> None:
    heads = ["records", "read", "created", "updated", "unchanged", "rejected"]
    rows = [[name, *(f"{number:,}" for number in counts.to_json().values())] for name, counts in types.items()]
    if rows and not session().json:
        table(heads, rows)


def _told(counts: Counts) -> str:
    parts = ", ".join(f"{number:,} {status}" for status, number in counts.to_json().items() if status != "read")
    return f"{counts.read:,} rows read = {parts}"
