"""Every block of the tutorials runs, in order, as a reader would run it: Python, commands, and files to write.

A block with a title is written to that file. What stands in a `text` block is what the block before it printed; `...`
there stands for anything. `pip install` is not run: what it would bring is here, and a plugin that the page itself
wrote is installed beside it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.distributions import install

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(ROOT.glob("docs/tutorial-*.md"))
_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


@attrs.frozen
class Block:
    """A fenced block: its language, the file it is to be written to (or ""), its text, its line on the page."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2] or "", found[3], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
    ]


class Reader:
    """Somebody who follows a page in a folder of their own, which has the examples in it, as a checkout has."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.site = folder / ".site"
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.environment: dict[str, str] = {}
        self.printed = ""

    def follow(self, block: Block) -> None:
        if block.title:
            file = self.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self.printed = self.run_python(block)
        elif block.language == "console":
            self.printed = "".join(self.run_command(line, block) for line in block.text.splitlines() if line)
        elif block.language == "text":
            self.compare(block)
        else:
            raise AssertionError(f"{self.page.name}:{block.line}: a {block.language} block needs a title")

    def run_python(self, block: Block) -> str:
        code = compile("\n" * block.line + block.text, str(self.page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, self.namespace)
        return out.getvalue()

    def run_command(self, line: str, block: Block) -> str:
        words = shlex.split(line, comments=True)
        if words[:2] == ["pip", "install"]:
            for word in words[2:]:
                if word.startswith("./") or word == ".":
                    self.install((self.folder / word).resolve())
            return ""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environment[name] = value
            return ""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment, "PATH": path, "COLUMNS": "100"},
        )
        assert 0 == done.returncode, f"{self.page.name}:{block.line}: {line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install(self, project: Path) -> None:
        install(project, self.site)
        added = [str(self.site), str(project)]
        sys.path[:0] = added
        os.environ["PYTHONPATH"] = os.pathsep.join([*added, os.environ.get("PYTHONPATH", "")])

    def compare(self, block: Block) -> None:
        same = doctest.OutputChecker().check_output(block.text, self.printed, doctest.ELLIPSIS)
        assert same, f"{self.page.name}:{block.line}: expected\n{block.text}\nprinted\n{self.printed}"


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Leave path, environment and modules as they were: what a page wrote and imported is gone."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.delenv("CRM_WORKSPACE", raising=False)
    yield
    for name, module in list(sys.modules.items()):
        if tmp_path in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_before: None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    reader = Reader(page, tmp_path)
    for block in blocks(page):
        reader.follow(block)


@pytest.mark.parametrize("place", ["sqlite:///team.db", "memory:"])
def test_the_ten_lines_of_the_readme_run_as_they_stand(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ten = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    reader = Reader(ROOT / "README.md", tmp_path)
    printed = reader.run_python(attrs.evolve(ten, text=ten.text.replace("sqlite:///team.db", place)))
    assert "1,200.00 EUR" in printed or "2026-11" in printed
    assert "100.0%" in printed


def test_the_ten_lines_are_the_same_everywhere() -> None:
    shown = [
        next(block.text for block in blocks(ROOT / page) if block.language == "python" and not block.title)
        for page in ("README.md", "docs/tutorial-developer.md")
    ]
    assert shown[0] == shown[1]
