"""What every test in the tree shares: which files hold doctests, and a record of the databases that tests met."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline would make a property fail on a busy machine; speed is measured in tests/benchmarks.
settings.register_profile("house", deadline=None)
# A commit is judged by the same examples each time; whoever runs the tests at home looks for new ones.
settings.register_profile("judged", settings.get_profile("house"), derandomize=True)
# What differs between versions of Python shows in the first few examples of a property.
settings.register_profile("sampled", settings.get_profile("judged"), max_examples=15)
settings.load_profile("judged" if os.environ.get("CI") else "house")

# A run in the background ignores Ctrl-C, and the commands that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_databases: set[str] = set()
_wanted: set[str] = set()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave scripts alone: collecting doctests imports a file, and an example runs when it is imported."""
    examples = config.rootpath / "examples"
    in_package = (collection_path.parent / "__init__.py").is_file()
    is_script = collection_path.suffix == ".py" and not collection_path.name.startswith(("test_", "conftest"))
    is_script = is_script and not in_package
    return True if is_script and examples in collection_path.parents else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("database"):
        item.user_properties.append(("database", mark.args[0]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count by what reports say: where several processes run the tests, only reports reach the one that sums up."""
    named = {str(value) for name, value in report.user_properties if name == "database"}
    _wanted.update(named)
    if report.when == "call" and not report.skipped:
        _databases.update(named)


def pytest_sessionfinish(session: pytest.Session) -> None:
    cache = getattr(session.config, "cache", None)  # none with -p no:cacheprovider
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set("databases-run", sorted(_databases))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"Databases that tests ran against: {', '.join(sorted(_databases)) or 'none'}")
    for name in sorted(_wanted - _databases):
        variable = f"CRM_TEST_{name.upper()}_URL"
        terminalreporter.write_line(f"NOT RUN: {name} (no server: name one by {variable})")
