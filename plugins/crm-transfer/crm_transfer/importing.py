"""The public functions of an import: one file, a plan, or the rest of one that was cut off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from crm_core import CRM
from crm_core.errors import UsageError
from crm_core.values import format_id
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.jobs import Job, open_job
from crm_transfer.mapping import RowMapping, parse_mapping, with_policies
from crm_transfer.opening import importer_for, open_source, with_form
from crm_transfer.plan import Plan, load_plan, look_at_records
from crm_transfer.policies import Conflict
from crm_transfer.rejects import refuse_no_folder
from crm_transfer.report import ImportReport
from crm_transfer.run import Progress, Run
from crm_transfer.update import update_file


def import_file(
    crm: CRM,
    path: Path,
    mapping: RowMapping,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    rejects: Path | None = None,
    resume: int | None = None,
    policies: Mapping[str, Conflict] = MappingProxyType({}),
) -> ImportReport:
    """Import one file as one operation, which can be undone, and resumed when it is cut off.

    The fields and pipelines that the mapping declares are added to the workspace first; a dry run adds nothing.

    Args:
        crm: where to.
        path: the file.
        mapping: what its columns mean, from `load_mapping`.
        dry_run: check and count everything, write nothing.
        progress: called with rows done, rows in all and the file's name, chunk by chunk.
        rejects: the folder for the file of rejected rows; without it that goes beside the file.
        resume: the operation that was cut off.
        policies: who wins where a record says something else, by field (or "" for all), instead of the mapping's word.

    Raises:
        FileFault: the file as a whole cannot be imported; nothing was written.
        MappingError: the mapping does not fit the file or this CRM; nothing was written.
    """
    refuse_no_folder(rejects)
    if mapping.form.update:
        return update_file(
            crm,
            mapping.records[0].type,
            path,
            mapping=mapping,
            dry_run=dry_run,
            progress=progress,
            rejects=rejects,
            resume=resume,
            policies=policies,
        )
    detail: dict[str, Any] = {
        "file": str(path.absolute()),
        "mapping": mapping.text,
        "system": mapping.records[0].system,
        "format": mapping.form.format,
        "options": dict(mapping.form.options),
    }
    if policies:
        detail["policies"] = dict(policies)
        mapping = with_policies(mapping, policies)
    wanted = _wanted(mapping.name, mapping, [])
    if _missing(crm, wanted):  # a file that cannot be imported must not change crm.toml
        open_source(importer_for(crm, path, mapping.form.format), path, mapping.form.options)
    remark = _extend(crm, wanted, dry_run=dry_run)
    with _target(crm, wanted if remark else None, dry_run=dry_run) as target:
        run = Run(target, dry_run=dry_run, whole=dry_run and target is crm, progress=progress, rejects=rejects)
        job = open_job(target, path, mapping)
        if resume is not None:
            _refuse_changed(crm, resume, [job])
        detail["sha256"] = job.source.digest
        report = run.files([job], label=f"import {path.name}", detail=detail, resume=resume)
    report.notes[:0] = remark
    return report


def import_plan(
    crm: CRM,
    plan: Plan,
    *,
    data: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    rejects: Path | None = None,
    resume: int | None = None,
) -> ImportReport:
    """Import the files of a plan in order as one operation; the fields and pipelines it declares are added first.

    A dry run adds nothing: it works on a copy that has what the plan declares. Where the storage cannot be copied, it
    checks against an empty CRM of the same settings, and says so. `data` is the folder of the files, else the one the
    plan names; the other arguments are those of `import_file`.

    Raises:
        FileFault, MappingError: as in `import_file`.
        SettingsError: a field or pipeline of the plan is there already and says something else.
    """
    refuse_no_folder(rejects)
    folder = data or plan.data
    detail = {"plan": str(plan.path.absolute()), "data": str(folder.absolute())}
    wanted = _wanted(plan.path.name, plan, [each.mapping for each in plan.files])
    remark = _extend(crm, wanted, dry_run=dry_run)
    with _target(crm, wanted if remark else None, dry_run=dry_run) as target:
        jobs = [open_job(target, folder / each.file, each.mapping) for each in plan.files]
        look_at_records(target, plan)  # a check that cannot be carried out shows before the first write
        detail["sha256"] = " ".join(job.source.digest for job in jobs)
        if resume is not None:
            _refuse_changed(crm, resume, jobs)
        run = Run(target, dry_run=dry_run, whole=dry_run and target is crm, progress=progress, rejects=rejects)
        report = run.files(
            jobs,
            label=f"import {plan.title}",
            detail=detail,
            resume=resume,
            afterwards=lambda: look_at_records(target, plan),
        )
    report.notes[:0] = remark
    return report


def resume_import(
    crm: CRM, operation: int, *, progress: Progress | None = None, rejects: Path | None = None
) -> ImportReport:
    """Finish an import that was cut off: rows that are in already are unchanged, the others join its operation.

    Raises:
        UsageError: the operation is no import that was cut off.
        FileFault: its file is no longer there, or changed since.
    """
    entry = crm.ledger.get(operation)
    if entry.kind != "import":
        raise UsageError(f"the operation is no import: {entry.label}", hint="crm ledger log shows what each one is")
    detail = entry.detail
    if "plan" in detail:
        plan = load_plan(Path(detail["plan"]))
        return import_plan(crm, plan, data=Path(detail["data"]), progress=progress, rejects=rejects, resume=operation)
    if "update" in detail:
        mapping = parse_mapping(detail["mapping"], system=detail["system"]) if "mapping" in detail else None
        return update_file(
            crm,
            detail["update"],
            Path(detail["file"]),
            mapping=mapping,
            options=detail.get("options", {}),
            progress=progress,
            rejects=rejects,
            resume=operation,
            policies=detail.get("policies", {}),
        )
    if "file" not in detail:
        raise UsageError("the operation does not say which file it imported")
    mapping = parse_mapping(detail["mapping"], system=detail["system"])
    mapping = with_form(mapping, detail.get("format", ""), detail.get("options", {}))
    return import_file(
        crm,
        Path(detail["file"]),
        mapping,
        progress=progress,
        rejects=rejects,
        resume=operation,
        policies=detail.get("policies", {}),
    )


@attrs.frozen
class Wanted:
    """What a mapping or a plan needs of the workspace, and the name of the file that says so."""

    name: str
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]]
    pipelines: Mapping[str, Mapping[str, Any]]


def _wanted(name: str, first: RowMapping | Plan, others: Sequence[RowMapping]) -> Wanted:
    """Gather what a file and those it names need.

    Raises:
        MappingError: two of them declare one field or pipeline differently.
    """
    fields: dict[str, dict[str, Mapping[str, Any]]] = {}
    pipelines: dict[str, Mapping[str, Any]] = {}
    for each in (first, *others):
        for kind, named in each.fields.items():
            for field, content in named.items():
                if fields.setdefault(kind, {}).setdefault(field, content) != content:
                    raise MappingError(f"{name}: [fields.{kind}.{field}] is declared twice, differently")
        for pipeline, content in each.pipelines.items():
            if pipelines.setdefault(pipeline, content) != content:
                raise MappingError(f"{name}: [pipelines.{pipeline}] is declared twice, differently")
    return Wanted(name, fields, pipelines)


def _refuse_changed(crm: CRM, operation: int, jobs: Sequence[Job]) -> None:
    """Refuse to go on with other bytes than those that the operation began with."""
    before = str(crm.ledger.get(operation).detail.get("sha256", "")).split()
    now = [job.source.digest for job in jobs]
    changed = [job.path for job, digest in zip(jobs, now, strict=True) if digest not in before]
    if before != now:
        name = format_id(operation)
        told = ", ".join(str(path) for path in changed) or "the list of files"
        raise FileFault(
            f"{told}: changed since the import began, so that one cannot be finished with it",
            hint=f"put the file back as it was and say --resume {name} again; or import what it is now as an import of "
            f"its own (rows that are in and did not change stay as they are); or take back: crm ledger undo {name}",
            file=changed[0].name if changed else "",
            rule="changed",
        )


@contextmanager
def _target(crm: CRM, wanted: Wanted | None = None, *, dry_run: bool) -> Iterator[CRM]:
    """Give the CRM to import into: this one, or for a dry run one that has the same records and what is added."""
    if not dry_run:
        yield crm
        return
    added = {"fields": wanted.fields, "pipelines": wanted.pipelines} if wanted is not None else {}
    with crm.rehearsal("import", **added) as trial:
        yield trial


def _extend(crm: CRM, wanted: Wanted, *, dry_run: bool) -> list[str]:
    """Add to the workspace what is wanted and it lacks, and say so in words; a dry run only says what it would add."""
    for name in wanted.fields:
        if name not in crm.registry.types:
            raise MappingError(f"{wanted.name}: [fields.{name}] names no record type")
    missing = _missing(crm, wanted)
    if not missing:
        return []
    if not dry_run:
        crm.extend_workspace(fields=wanted.fields, pipelines=wanted.pipelines)
        return [f"added to crm.toml: {', '.join(missing)}; undoing the import leaves them there"]
    remark = [f"the import will add to crm.toml: {', '.join(missing)}"]
    if "copy" not in crm.storage.capabilities and crm.external_ids.count():
        remark.append("this storage cannot be copied, so the dry run did not look at the records that are here already")
    return remark


def _missing(crm: CRM, wanted: Wanted) -> list[str]:
    """Return what is wanted and the workspace lacks, as the names of tables of crm.toml."""
    fields = [
        f"fields.{kind}.{name}"
        for kind, named in wanted.fields.items()
        for name in named
        if kind not in crm.registry.types or f"fields.{name}" not in crm.registry.types[kind].fields
    ]
    return fields + [f"pipelines.{name}" for name in wanted.pipelines if name not in crm.settings.pipelines]
