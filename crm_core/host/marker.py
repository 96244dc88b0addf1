"""`hookimpl`, by which a plugin marks its implementations; apart, since it is all of the host that plugins import."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, get_args, overload

from crm_core.errors import PluginError
from crm_core.events import OriginKind

PROJECT: Final = "crm_core"
"""The name under which pluggy files our marks."""
MARK: Final = f"{PROJECT}_impl"
OPT_IN: Final[frozenset[str]] = frozenset({"import", "undo", "merge"})
"""Origins that an `on_*` hook is told of only when it asks: an import of history must not write to 28,000 people."""

F = TypeVar("F", bound=Callable[..., Any])


@overload
def hookimpl(function: F, /) -> F: ...
@overload
def hookimpl(*, include: Iterable[OriginKind] = ()) -> Callable[[F], F]: ...
def hookimpl(function: Any = None, /, *, include: Iterable[OriginKind] = ()) -> Any:
    """Mark a function as the implementation of the hook of its name.

    Args:
        function: the implementation; its parameters are exactly those of the hook.
        include: for an `on_*` hook, which of the origins "import", "undo" and "merge" it is told of as well.

    Raises:
        PluginError: `include` names something else.

    >>> @hookimpl(include=["import"])
    ... def on_customers_changed(self, event): ...
    """
    asked = frozenset((include,) if isinstance(include, str) else include)
    if unknown := asked - OPT_IN:
        always = ", ".join(sorted({*get_args(OriginKind)} - OPT_IN))
        raise PluginError(
            f"hookimpl(include={sorted(unknown)}): these are no origins that a delivery opts in to",
            hint=f"choose from: {', '.join(sorted(OPT_IN))}; {always} always come",
        )

    def mark(marked: F) -> F:
        # The shape is pluggy's, so that its own marker and ours are read the same way.
        options = {
            "wrapper": False,
            "hookwrapper": False,
            "optionalhook": False,
            "tryfirst": False,
            "trylast": False,
            "specname": None,
            "include": asked,
        }
        setattr(marked, MARK, options)
        return marked

    return mark if function is None else mark(function)
