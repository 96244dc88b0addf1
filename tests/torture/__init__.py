"""Torture: what RELIABILITY promises of data, as a program that fails statements, kills processes and cuts the power.

`make torture` runs the quick form, `make torture-long` the one whose figures are claimed.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Finding:
    """What came of one promise on one storage: `state` is held, FAILED or NOT RUN; `figure` says how much was tried."""

    promise: str
    storage: str
    state: str
    figure: str
    seconds: float = 0.0


class Broken(AssertionError):
    """A promise does not hold; the message says where."""


def require(holds: bool, what: str) -> None:
    """Go on only if it holds; unlike `assert` also where assertions are switched off."""
    if not holds:
        raise Broken(what)
