"""The ledger's own tables: operations, transactions, images of what changed, cursors of subscribers."""

from __future__ import annotations

from typing import Final

from crm_core.records.schema import Column, Index, Table


def _int(name: str, *, nullable: bool = False) -> Column:
    return Column(name, "int", nullable)


def _text(name: str, *, nullable: bool = False) -> Column:
    return Column(name, "text", nullable)


VERSION: Final = "version"
"""What an image of a change calls the versions (before, after) of the row; no cell that changed has this name."""
HEAD: Final = Table("ledger_head", (_int("id"), _int("position")))
OPERATIONS: Final = Table(
    "ledger_operations",
    (
        _int("id"),
        _text("kind"),
        _text("label"),
        _text("state"),
        _int("user_id", nullable=True),
        _int("started_at"),
        _int("ended_at", nullable=True),
        _int("undoes", nullable=True),
        _int("cause", nullable=True),
        _text("process"),
        _text("detail"),
    ),
    (Index(("cause",)), Index(("undoes",))),
)
TRANSACTIONS: Final = Table(
    "ledger_transactions",
    (
        _int("id"),
        _int("position"),
        _int("operation_id"),
        _int("at"),
        _text("notes"),
        # The link of the hash chain; NULL in what was written before there was one.
        _text("chain", nullable=True),
    ),
    (Index(("position",), unique=True), Index(("operation_id",))),
)
IMAGES: Final = Table(
    "ledger_images",
    (
        _int("id"),
        _int("tx_id"),
        _text("table_name"),
        _int("record_id"),
        _text("action"),
        _text("content"),
        _text("salt", nullable=True),
        # Of an emptied image only; that of any other follows from what is in it.
        _text("digest", nullable=True),
    ),
    (Index(("tx_id",)), Index(("table_name", "record_id"))),
)
CURSORS: Final = Table(
    "ledger_cursors",
    (
        _int("id"),
        _text("plugin"),
        _text("hook"),
        _int("position"),
        _int("attempts"),
        _int("next_at"),
        _text("lease", nullable=True),
        _int("lease_until"),
        _text("error", nullable=True),
    ),
    (Index(("plugin", "hook"), unique=True),),
)
# Of jobs: `hook` is the job and its part, `position` when it last did its work, in microseconds.
JOBS: Final = Table("ledger_jobs", CURSORS.columns, CURSORS.indexes)
LEASED: Final = (CURSORS.name, JOBS.name)
"""Tables of who is at work where, which a restore frees."""
PARKED: Final = Table(
    "ledger_parked",
    (
        _int("id"),
        _text("plugin"),
        _text("hook"),
        _int("position"),
        _int("at"),
        _text("error"),
        # When it was delivered after all, or given up for good; its error is empty then.
        _int("settled_at", nullable=True),
    ),
    (Index(("plugin", "hook")),),
)

LEDGER_TABLES: Final = (HEAD, OPERATIONS, TRANSACTIONS, IMAGES, CURSORS, JOBS, PARKED)

FORGOTTEN: Final = -1
"""The position of a cursor whose plugin was purged: should it come back, it begins at the head."""
