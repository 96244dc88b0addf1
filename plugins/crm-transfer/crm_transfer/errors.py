"""What can be wrong with an import as a whole, and with one row of it."""

from __future__ import annotations

from crm_core.errors import CrmError, UsageError


class MappingError(UsageError):
    """A mapping or plan says something that cannot be done; the message names the file and the key."""


class FileFault(CrmError):
    """A file cannot be imported at all: nothing was written.

    `file`, `row` (the line a row starts on; None where no row is to blame), `column`, `value` and `rule` say where and
    why, as the errors of rows do; `--json` prints them.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        file: str = "",
        row: int | None = None,
        column: str = "",
        value: str = "",
        rule: str = "file",
    ) -> None:
        super().__init__(message, hint=hint)
        self.details = {"file": file, "row": row, "column": column, "value": value, "rule": rule}


class BadCell(Exception):
    """A cell that breaks a rule; the row is rejected."""

    def __init__(self, rule: str, message: str, *, column: str = "", value: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.column = column
        self.value = value

    def at(self, column: str, value: str) -> BadCell:
        """Return the same refusal with the column and the value it is about."""
        return BadCell(self.rule, self.message, column=self.column or column, value=self.value or value)
