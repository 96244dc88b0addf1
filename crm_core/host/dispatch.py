"""One call of one implementation: contained, timed, and its answer checked against the contract."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from threading import get_ident
from time import perf_counter
from typing import Any

from crm_core.host.load import CONTAINED, describe
from crm_core.host.plugin import Implementation


def ask(implementation: Implementation, *arguments: Any) -> Any:
    """Call an implementation and return its answer: for a hook of many answers a tuple of them, checked.

    Raises:
        PluginError: it failed, its answer is not what the contract has, or it is at work in this thread already.
    """
    running, thread, start = implementation.running, get_ident(), perf_counter()
    if thread in running:
        implementation.failures += 1
        raise implementation.failed(f"came back to {implementation.hook.name} while it was at work in it")
    running[thread] = start
    watchdog = implementation.watchdog
    if watchdog is not None and not watchdog.awake:
        watchdog.wake()
    try:
        answer = implementation.function(*arguments)
        if implementation.many:
            # Here, since a generator runs the plugin's code only now. Lists, the rule, skip the checks of other types.
            answer = tuple(answer) if type(answer) is list else _many(implementation, answer)
    except CONTAINED as error:
        implementation.failures += 1
        implementation.plugin.traceback = "".join(traceback.format_exception(error))
        raise implementation.failed(f"failed in {implementation.hook.name}: {describe(error)}", error) from error
    finally:
        del running[thread]
        implementation.calls += 1
        implementation.seconds += perf_counter() - start
    if answer and implementation.many:
        _check_each(implementation, answer)
    return answer


def ask_first(implementation: Implementation, event: Any) -> Any:
    """Call an implementation of a hook whose first answer counts; one at work in this thread already has none to give.

    Raises:
        PluginError: as `ask`.
    """
    if get_ident() in implementation.running:
        return None
    answer = ask(implementation, event)
    if answer is not None and not isinstance(answer, implementation.hook.returns):
        raise _wrong(implementation, f"returned {_kind(answer)}, expected {_expected(implementation)} or None")
    return answer


def check_indexes(implementation: Implementation, answers: Iterable[Any], event: Any) -> None:
    """Check that vetoes and derived values point at changes of the event.

    Raises:
        PluginError: one does not.
    """
    count = len(event.changes)
    for answer in answers:
        if type(answer.index) is not int or not 0 <= answer.index < count:
            raise _wrong(implementation, f"returned index {answer.index!r} for a batch of {count}")


def _many(implementation: Implementation, answer: Any) -> tuple[Any, ...]:
    if answer is None and implementation.hook.policy in ("derive", "veto"):
        return ()  # a function that falls off its end has no objection
    if isinstance(answer, str | bytes | Mapping | type) or not isinstance(answer, Iterable):
        raise TypeError(f"returned {_kind(answer)}, expected an iterable of {_expected(implementation)}")
    return tuple(answer)


def _check_each(implementation: Implementation, answers: tuple[Any, ...]) -> None:
    wanted = implementation.hook.returns
    for number, answer in enumerate(answers):
        if not isinstance(answer, wanted):
            expected = _expected(implementation)
            raise _wrong(implementation, f"returned {_kind(answer)} as answer {number + 1}, expected {expected}")


def _wrong(implementation: Implementation, what: str) -> Exception:
    implementation.failures += 1
    return implementation.failed(f"broke the contract of {implementation.hook.name}: it {what}")


def _kind(answer: Any) -> str:
    return f"the class {answer.__name__}" if isinstance(answer, type) else type(answer).__name__


def _expected(implementation: Implementation) -> str:
    return " or ".join("class" if kind is type else kind.__name__ for kind in implementation.hook.returns)
