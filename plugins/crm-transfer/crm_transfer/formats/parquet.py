"""Writes Parquet: typed columns, exact decimals, days and moments. Needs pyarrow, the extra `parquet`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from crm_core.errors import CrmError
from crm_core.extend import ExportColumn, Exporter

_GROUP: Final = 5_000
"""Rows of one row group: what is in memory at a time."""
_DIGITS: Final = 38


def write_parquet(path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]) -> int:
    """Write records as one Parquet file; a moment that is only a day becomes its midnight in UTC.

    Raises:
        CrmError: pyarrow is not installed.
    """
    assert path is not None, "Parquet is written to a file"
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise CrmError(
            "Parquet needs pyarrow, which is not installed", hint='pip install "crm-transfer[parquet]"'
        ) from None
    kinds = {
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "day": pa.date32(),
        "moment": pa.timestamp("us", tz="UTC"),
        "tags": pa.list_(pa.string()),
    }
    types = [
        pa.decimal128(_DIGITS, column.scale) if column.kind == "decimal" else kinds.get(column.kind, pa.string())
        for column in columns
    ]
    schema = pa.schema([pa.field(column.name, type_) for column, type_ in zip(columns, types, strict=True)])
    moments = [at for at, column in enumerate(columns) if column.kind == "moment"]
    count, source = 0, iter(rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := [_with_moments(row, moments) for row in islice(source, _GROUP)]:
            arrays = [pa.array(cells, type_) for cells, type_ in zip(zip(*group, strict=True), types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(group)
    return count


PARQUET_EXPORT: Final = Exporter(
    name="parquet",
    suffixes=(".parquet",),
    write=write_parquet,
    typed=True,
    binary=True,
    help="Parquet, with typed columns; needs crm-transfer[parquet].",
)


def _with_moments(row: Sequence[Any], moments: Sequence[int]) -> Sequence[Any]:
    if not any(isinstance(row[at], dt.date) and not isinstance(row[at], dt.datetime) for at in moments):
        return row
    cells = list(row)
    for at in moments:
        found = cells[at]
        if isinstance(found, dt.date) and not isinstance(found, dt.datetime):
            cells[at] = dt.datetime.combine(found, dt.time(), ZoneInfo("UTC"))
    return cells
