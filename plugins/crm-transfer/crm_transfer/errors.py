"""What can be wrong with an import as a whole, and with one row of it."""

from __future__ import annotations

from crm_core.errors import CrmError, UsageError


class MappingError(UsageError):
    """A mapping or plan says something that cannot be done; the message names the file and the key."""


class FileFault(CrmError):
    """A file cannot be imported at all: nothing was written."""


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
