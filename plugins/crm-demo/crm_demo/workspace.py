"""The demo's directory: whether it is one, the files in it, and its removal."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import attrs

from crm_demo.company import HISTORY, ZONE, Company, Scale

MARKER: Final = "demo.json"
_OURS: Final = ("crm.toml", "data", "report.html")
_DATABASE: Final = "crm.db"
_USD: Final = ("0.93", "0.92", "0.94", "0.91", "0.90", "0.88", "0.87", "0.86", "0.87", "0.88", "0.89")
"""Euros for a dollar, one for each quarter of the history."""


@attrs.frozen(kw_only=True)
class Made:
    """What a demo was made from."""

    seed: int
    last_day: date


@attrs.frozen(kw_only=True)
class State:
    """What a directory is: `made` a whole demo, `is_foreign` somebody else's; neither when empty or half a demo."""

    made: Made | None = None
    is_foreign: bool = False


def state_of(directory: Path) -> State:
    """Look at a directory before anything is written."""
    if not directory.exists() or not any(directory.iterdir()):
        return State()
    marker = directory / "data" / MARKER
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        made = Made(seed=content["seed"], last_day=date.fromisoformat(content["last_day"]))
    except (OSError, ValueError, KeyError, TypeError):
        return State(is_foreign=True)
    return State(made=made if content.get("complete") else None)


def remove(directory: Path) -> None:
    """Remove a demo's own files; anything else in the directory stays."""
    for name in _OURS:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in directory.glob(_DATABASE + "*") if directory.exists() else ():
        path.unlink()


def make(directory: Path, made: Made, scale: Scale | None = None) -> dict[str, int]:
    """Write settings and data files of a demo, not yet imported; return the rows of each file."""
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    mark(directory, made, complete=False)
    (directory / "crm.toml").write_text(settings_text(made.last_day), encoding="utf-8")
    for source in files("crm_demo").joinpath("maps").iterdir():
        (data / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    counts = {}
    for name, rows in Company(made.seed, made.last_day, scale).files():
        counts[name] = len(rows)
        _write(data / f"{name}.csv", rows)
    return counts


def mark(directory: Path, made: Made, *, complete: bool) -> None:
    """Leave the mark by which a directory is known as a demo, and say whether all of it is there."""
    content = {"seed": made.seed, "last_day": made.last_day.isoformat(), "complete": complete}
    (directory / "data" / MARKER).write_text(json.dumps(content) + "\n", encoding="utf-8")


def settings_text(last_day: date) -> str:
    """Return the demo's `crm.toml`: two currencies, one reporting currency and its dated rates."""
    first = last_day - timedelta(days=HISTORY)
    days = [first + timedelta(days=91 * at) for at in range(len(_USD))]
    rates = "\n".join(
        f'"{day}" = {{ USD = "{rate}" }}' for day, rate in zip(days, _USD, strict=True) if day <= last_day
    )
    return f"""# The workspace of the generated company. Everything in it is made up.
[crm]
currency = "EUR"
reporting_currency = "EUR"
zone = "{ZONE}"
calendar = "gregorian"

[storage]
url = "sqlite:///{_DATABASE}"

[rates]
# One unit of the code in the reporting currency, from that day on.
{rates}
"""


def _write(path: Path, rows: Sequence[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["code"])
        writer.writeheader()
        writer.writerows(rows)
