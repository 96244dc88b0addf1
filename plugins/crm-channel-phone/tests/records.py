"""Call records as Asterisk writes them to `Master.csv`, and the calls of the tests."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

ZONE = "Asia/Tehran"


def written(values: list[str]) -> bytes:
    """One line, each value in quotation marks."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(values)
    return out.getvalue().encode()


def row(
    uniqueid: str = "1767225600.1",
    *,
    src: str = "09123456789",
    dst: str = "101",
    start: datetime | str = "2026-01-01 10:00:00",
    rang: int = 5,
    talked: int = 0,
    disposition: str = "",
    far: str = "PJSIP/101-00000001",
    context: str = "from-trunk",
    name: str = "",
    app: str = "Dial",
    note: str = "",
    linkedid: str | None = None,
    **more: Any,
) -> bytes:
    """One leg; answered if somebody talked."""
    begun = datetime.fromisoformat(start) if isinstance(start, str) else start
    answer, end = begun + timedelta(seconds=rang), begun + timedelta(seconds=rang + talked)
    said = disposition or ("ANSWERED" if talked else "NO ANSWER")
    values = [
        "", src, dst, context, f'"{name}" <{src}>', "PJSIP/trunk-00000000", far, app, f"{far},30",
        f"{begun:%Y-%m-%d %H:%M:%S}", f"{answer:%Y-%m-%d %H:%M:%S}" if said == "ANSWERED" else "",
        f"{end:%Y-%m-%d %H:%M:%S}", str(rang + talked), str(talked), said, "DOCUMENTATION", uniqueid, note,
    ]  # fmt: skip
    values += ["", linkedid, "1"] if linkedid is not None else []
    return written([str(more.get(str(number), each)) for number, each in enumerate(values)])
