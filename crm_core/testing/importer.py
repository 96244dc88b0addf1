"""The contract of an importer as tests: a vendor subclasses `ImporterContract`, hands over sample files, runs pytest.

It imports as a person does, with `crm import`, so it needs what that command needs: `pip install "crm-core[standard]"`.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tracemalloc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, ClassVar

import attrs
import click

from crm_core.console.session import session
from crm_core.crm import CRM
from crm_core.errors import CrmError
from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_core.host import Host
from crm_core.host.load import import_object
from crm_core.settings import Settings, write_settings

_FEW, _HELD = 200, 9_000_000
"""Rows of a short file, and how many bytes the cells of a long one would take if all of them were kept."""
_ALLOWED = 4_500_000
"""Bytes that reading the long file may take beyond the short one: buffers, which do not grow any more."""
_STATUSES = ("created", "updated", "unchanged", "rejected")
_ERROR_ROW = "error_row"
_FOREIGN = (b"", b"a,b\n1,2\n", b'{"a": 1}\n', b"PK\x03\x04", b"<!DOCTYPE html><html></html>", b"\x00\xff\xfe")


@attrs.frozen(kw_only=True)
class ImportSample:
    """A file that can be imported, and what is true of it.

    Args:
        name: its name, with the ending that such files have.
        content: its bytes.
        numbers: the number of each row, as a person finds it in the file, in order.
        rejected: of the rows that are to be rejected the number, the column that is wrong, and what is right there.
        mapping: the TOML of a mapping; empty where the importer brings its own.
        type: the record type that is imported.
    """

    name: str
    content: bytes
    numbers: tuple[int, ...]
    rejected: Mapping[int, tuple[str, str]] = attrs.field(factory=dict)
    mapping: str = ""
    type: str = "customer"


@attrs.frozen(kw_only=True)
class RefusedFile:
    """A file that must be refused as a whole, and words that the error then has."""

    name: str
    content: bytes
    says: str


class ImporterContract(ABC):
    """What every importer promises. Subclass it, name the subclass `Test...`, define `samples` and `refused`."""

    importer: ClassVar[str] = ""
    """The name of the importer."""
    storage: ClassVar[str] = "sqlite:///crm.db"
    """Where the workspaces of the tests keep their records."""
    plugins: ClassVar[tuple[str, ...]] = ()
    """Paths of your own code that brings the importer, where no installed distribution does."""

    @abstractmethod
    def samples(self) -> Sequence[ImportSample]:
        """Return files of this format: one at least, and among them one with a row that is rejected."""

    @abstractmethod
    def refused(self) -> Sequence[RefusedFile]:
        """Return files that are refused as a whole: cut off, empty, or something else in disguise."""

    def put_right(self, rejects: Path, sample: ImportSample) -> None:
        """Correct a file of rejected rows as a person would. Override it where a row is more than its cells."""
        importer = self.descriptor()
        source = importer.open(rejects, {})
        rows = [list(row.cells) for row in source.rows]
        for row in rows:
            column, right = sample.rejected[int(row[source.columns.index(_ERROR_ROW)])]
            row[source.columns.index(column)] = right
        importer.write(rejects, source.columns, rows, source.options)

    # Reading

    def test_there_is_something_to_test_with(self) -> None:
        assert self.samples(), "samples() returns no file"
        assert self.refused(), "refused() returns no file"
        assert any(sample.rejected for sample in self.samples()), "no sample has a row that is rejected"

    def test_every_row_is_read_once_under_its_number(self, tmp_path: Path) -> None:
        for sample in self.samples():
            source = self.open(tmp_path, sample)
            numbers = [row.number for row in source.rows]
            assert list(sample.numbers) == numbers, f"{sample.name}: rows are numbered as a person finds them"
            assert len(numbers) == source.total, f"{sample.name}: `total` is how many rows there are"

    def test_rows_fit_their_columns(self, tmp_path: Path) -> None:
        for sample in self.samples():
            source = self.open(tmp_path, sample)
            assert source.columns, f"{sample.name}: a file without a column"
            assert all(source.columns), f"{sample.name}: a column without a name: {source.columns}"
            assert len(set(source.columns)) == len(source.columns), f"{sample.name}: a column twice: {source.columns}"
            assert set(source.own) <= set(source.columns), f"{sample.name}: `own` are columns of the file"
            for row in source.rows:
                assert len(source.columns) == len(row.cells), f"{sample.name}, row {row.number}: one cell a column"
                assert all(isinstance(cell, str) for cell in row.cells), f"{sample.name}, row {row.number}: text only"
                if isinstance(row, BadRow):
                    assert row.rule, f"{sample.name}, row {row.number}: which rule does it break?"
                    assert row.message, f"{sample.name}, row {row.number}: what is wrong with it?"
                    assert not row.column or row.column in source.columns, f"{sample.name}: {row.column!r} is no column"

    def test_reading_twice_gives_the_same_and_changes_nothing(self, tmp_path: Path) -> None:
        for sample in self.samples():
            first, second = (_content(self.open(tmp_path, sample)) for _ in range(2))
            assert first == second, f"{sample.name}: read twice, it is not the same"
            assert sample.content == (tmp_path / sample.name).read_bytes(), f"{sample.name}: reading changed the file"

    def test_the_digest_is_that_of_the_bytes(self, tmp_path: Path) -> None:
        for sample in self.samples():
            source = self.open(tmp_path, sample)
            assert hashlib.sha256(sample.content).hexdigest() == source.digest, f"{sample.name}: SHA-256 of its bytes"

    def test_it_is_found_by_the_file(self) -> None:
        importer = self.descriptor()
        for sample in self.samples():
            if importer.recognises is None:
                known = ", ".join(importer.suffixes)
                assert Path(sample.name).suffix.lower() in importer.suffixes, f"{sample.name}: it reads {known}"
                continue
            assert importer.recognises(sample.content[: 1 << 16]) is True, f"{sample.name} is not recognised"
        for head in _FOREIGN if importer.recognises is not None else ():
            assert importer.recognises is not None
            assert importer.recognises(head) is False, f"it takes {head!r} for its own"

    def test_memory_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        sample = next(sample for sample in self.samples() if len(sample.numbers) > len(sample.rejected))
        source = self.open(tmp_path, sample)
        good = [list(row.cells) for row in source.rows if isinstance(row, SourceRow)]
        many = _HELD // min(sum(map(sys.getsizeof, [*cells, cells])) for cells in good)
        few = self.peak(tmp_path, sample, source, _repeated(good, _FEW), _FEW)
        grown = self.peak(tmp_path, sample, source, _repeated(good, many), many) - few
        assert grown < _ALLOWED, (
            f"{sample.name}: {many:,} rows take {grown / 1e6:.1f} MB more than {_FEW:,}, and all their cells together "
            f"would be {_HELD / 1e6:.1f} MB: yield rows as they are read"
        )

    # Importing

    def test_every_row_is_counted_and_errors_are_where_they_are(self, tmp_path: Path) -> None:
        for sample in self.samples():
            report = self.bring(_place(tmp_path, sample), self.file(tmp_path, sample), sample)
            for counts in [report, *report["types"].values()]:
                assert counts["read"] == sum(counts[status] for status in _STATUSES), f"{sample.name}: {counts}"
            assert len(sample.numbers) == report["read"], f"{sample.name}: as many rows as there are"
            wrong = {number: column for number, (column, _) in sample.rejected.items()}
            found = {error["row"]: error["column"] for error in report["errors"]}
            assert wrong == found, f"{sample.name}: rejected are these rows, for these columns: {report['errors']}"
            assert len(wrong) == report["rejected"], f"{sample.name}: {report['errors']}"

    def test_a_dry_run_says_the_same_and_writes_nothing(self, tmp_path: Path) -> None:
        for sample in self.samples():
            path = self.file(tmp_path, sample)
            planned = self.bring(_place(tmp_path, sample), path, sample, "--dry-run")
            assert [] == self.operations(_place(tmp_path, sample)), f"{sample.name}: a dry run wrote something"
            done = self.bring(_place(tmp_path, sample), path, sample)
            names = ("read", *_STATUSES, "types", "errors")
            assert {n: planned[n] for n in names} == {n: done[n] for n in names}, f"{sample.name}: the dry run differs"

    def test_importing_twice_changes_nothing(self, tmp_path: Path) -> None:
        for sample in self.samples():
            path = self.file(tmp_path, sample)
            self.bring(_place(tmp_path, sample), path, sample)
            stored = self.stored(_place(tmp_path, sample))
            again = self.bring(_place(tmp_path, sample), path, sample)
            good = len(sample.numbers) - len(sample.rejected)
            assert (0, 0, good) == (again["created"], again["updated"], again["unchanged"]), (
                f"{sample.name}: the second time everything is unchanged; are the keys those of the first?"
            )
            assert stored == self.stored(_place(tmp_path, sample)), (
                f"{sample.name}: the second import made or lost records"
            )

    def test_an_import_can_be_taken_back(self, tmp_path: Path) -> None:
        for sample in (sample for sample in self.samples() if len(sample.numbers) > len(sample.rejected)):
            before = self.stored(self.workspace(_place(tmp_path, sample)))
            self.bring(_place(tmp_path, sample), self.file(tmp_path, sample), sample)
            self.take_back(_place(tmp_path, sample))
            assert before == self.stored(_place(tmp_path, sample)), f"{sample.name}: undo left something"

    def test_rejected_rows_can_be_corrected_and_imported(self, tmp_path: Path) -> None:
        for sample in (sample for sample in self.samples() if sample.rejected):
            first = self.bring(_place(tmp_path, sample), self.file(tmp_path, sample), sample)
            rejects = Path(first["rejects_file"])
            again = self.bring(_place(tmp_path, sample), rejects, sample)
            assert len(sample.rejected) == again["rejected"] == again["read"], (
                f"{sample.name}: the file of rejected rows has these rows and no others: {again['errors']}"
            )
            rejects.unlink()
            rejects = Path(again["rejects_file"])
            sample = attrs.evolve(sample, rejected=_renumbered(again, sample))
            self.put_right(rejects, sample)
            corrected = self.bring(_place(tmp_path, sample), rejects, sample)
            assert (len(sample.rejected), 0) == (corrected["read"], corrected["rejected"]), (
                f"{sample.name}: corrected, every row is taken: {corrected['errors']}"
            )

    def test_a_file_that_is_refused_leaves_nothing(self, tmp_path: Path) -> None:
        for refused in self.refused():
            path = tmp_path / refused.name
            path.write_bytes(refused.content)
            error = _error_of(partial(self.descriptor().open, path, {}))
            assert error is not None, f"{refused.name}: `open` takes it; what is wrong with a whole file shows there"
            assert refused.says in str(error), f"{refused.name}: {error}"
            assert error.hint, f"{refused.name}: the error says what to do next"
            error = _error_of(partial(self.bring, tmp_path / "w", path, next(iter(self.samples()))))
            assert error is not None, f"{refused.name} was imported"
            assert refused.says in str(error), f"{refused.name}: {error}"
            assert [] == self.operations(tmp_path / "w"), f"{refused.name}: something was written before it was refused"

    # How

    def workspace(self, directory: Path) -> Path:
        """Return a workspace at `directory`, made when it is not there."""
        if not (directory / "crm.toml").is_file():
            write_settings(directory, storage_url=self.storage, currency="EUR")
            if self.plugins:
                paths = ", ".join(json.dumps(path) for path in self.plugins)
                with (directory / "crm.toml").open("a", encoding="utf-8") as file:
                    file.write(f"\n[plugins]\npaths = [{paths}]\n")
        return directory

    def descriptor(self) -> Importer:
        """Return the importer, as a CRM has it."""
        host = Host.open(Settings(storage_url="memory:", plugins_paths=self.plugins))
        found = {each.item.name: each.item for each in host.collect("register_importers")}
        assert self.importer in found, f"no plugin brings an importer {self.importer!r}; there are: {', '.join(found)}"
        importer: Importer = found[self.importer]
        return importer

    def file(self, folder: Path, sample: ImportSample) -> Path:
        """Write a sample to a folder."""
        path = folder / sample.name
        path.write_bytes(sample.content)
        return path

    def open(self, folder: Path, sample: ImportSample) -> Source:
        """Open a sample."""
        return self.descriptor().open(self.file(folder, sample), {})

    def bring(self, directory: Path, path: Path, sample: ImportSample, *options: str) -> dict[str, Any]:
        """Import a file with `crm import` and return its report."""
        arguments = [sample.type, str(path), "--rejects", str(directory)]
        if sample.mapping:
            mapping = directory.parent / f"{sample.name}.toml"
            mapping.write_text(sample.mapping, encoding="utf-8")
            arguments += ["--map", str(mapping)]
        report: dict[str, Any] = self.crm(directory, "import", *arguments, "--format", self.importer, *options)
        return report

    def take_back(self, directory: Path) -> None:
        """Undo the newest operation."""
        with CRM.open(directory) as crm:
            crm.ledger.undo(crm.ledger.resolve("last"))

    def operations(self, directory: Path) -> list[str]:
        """Return the operations of the ledger."""
        with CRM.open(directory) as crm:
            return [entry.label for entry in crm.ledger.operations()]

    def stored(self, directory: Path) -> dict[str, int]:
        """Return how many records there are, by type."""
        with CRM.open(directory) as crm:
            kinds = [name for name, kind in crm.registry.types.items() if not kind.declaration.internal]
            return {name: crm.records(name).count() for name in kinds}

    def crm(self, directory: Path, name: str, *arguments: str) -> Any:
        """Run a command of `crm` on a workspace, with `--json`, and return what it prints."""
        with CRM.open(self.workspace(directory)) as crm:
            command = next((each for each in crm.host.commands() if each.name == name), None)
        assert command is not None, f'no plugin brings `crm {name}`: pip install "crm-core[standard]"'
        module, _, attribute = command.target.partition(":")
        target = import_object(module, attribute)
        assert isinstance(target, click.Command), f"{command.target} is no command"
        printed = io.StringIO()
        with click.Context(click.Group("crm"), info_name="crm") as root:
            at = session()
            at.workspace, at.json = str(directory), True
            with (
                redirect_stdout(printed),
                redirect_stderr(io.StringIO()),
                target.make_context(name, list(arguments), parent=root) as context,
            ):
                target.invoke(context)
        return json.loads(printed.getvalue())

    def peak(
        self, folder: Path, sample: ImportSample, source: Source, rows: Iterable[Sequence[str]], count: int
    ) -> int:
        """Return the bytes that reading a file of these rows takes at most."""
        importer, path = self.descriptor(), folder / f"many-{sample.name}"
        importer.write(path, source.columns, rows, source.options)
        tracemalloc.start()
        try:
            read = sum(1 for _ in importer.open(path, {}).rows)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == read, f"{sample.name}: of {count:,} rows written back {read:,} are read"
        return peak


def _error_of(call: Callable[[], object]) -> CrmError | None:
    try:
        call()
    except CrmError as error:
        return error
    return None


def _place(folder: Path, sample: ImportSample) -> Path:
    return folder / f"{sample.name}-workspace"


def _repeated(rows: Sequence[Sequence[str]], times: int) -> Iterable[Sequence[str]]:
    endless = chain.from_iterable(repeat(rows))
    return (next(endless) for _ in range(times))


def _content(source: Source) -> tuple[Any, ...]:
    rows = [(type(row).__name__, row.number, tuple(row.cells)) for row in source.rows]
    return source.columns, dict(source.guesses), source.total, source.digest, rows


def _renumbered(report: Mapping[str, Any], sample: ImportSample) -> dict[int, tuple[str, str]]:
    """Return what is wrong with rejected rows under the numbers that they have in their own file, in the same order."""
    wrong = [sample.rejected[number] for number in sorted(sample.rejected)]
    found = sorted(error["row"] for error in report["errors"])
    return dict(zip(found, wrong, strict=True))
