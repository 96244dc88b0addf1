"""The entry of `crm`, apart so that `crm --version` answers before anything else is imported."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run `crm` and return its exit code: 0 done, 1 failed, 2 usage, 3 some rows rejected, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--version"]:
        return _say_version()
    try:
        from crm_core.cli.run import run

        return run(given)
    except KeyboardInterrupt:  # outside of a command, which click interrupts: while modules are loaded, say
        from crm_core.console.output import print_error

        print_error(
            "Interrupted", "interrupted; what was committed before stays", exit_code=130, as_json="--json" in given
        )
        return 130


def _say_version() -> int:
    from crm_core import __version__

    try:
        sys.stdout.write(f"crm {__version__}\n")
        sys.stdout.flush()
    except (OSError, AttributeError):  # a full disk, a reader that left, a closed stream: as with every command
        from crm_core.cli.run import run

        return run(["--version"])
    return 0
