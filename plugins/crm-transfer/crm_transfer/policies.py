"""The names of the policies that say who wins where a file and the CRM say different things of one field."""

from __future__ import annotations

from typing import Final, Literal, get_args

Conflict = Literal["keep_edited", "keep", "overwrite", "newest", "fill"]
CONFLICTS: Final[tuple[Conflict, ...]] = get_args(Conflict)
