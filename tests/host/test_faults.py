"""Every way a plugin can fail, in every hook: the others run, the record stays, the error names plugin and hook."""

from __future__ import annotations

import logging
import threading
from typing import Any

import attrs
import pytest

from crm_core.errors import PluginError
from crm_core.host import Hook, Host

from .samples import ANSWERING_HOOKS, CALLED_IN_TRANSACTION, EVENT_HOOKS, HOOKS, call, event_of, method, right

FAULTS = {
    "raises": "raise ZeroDivisionError('قلب')",
    "exits": "raise SystemExit(3)",
    "exhausts the stack": "return (lambda f: f(f))(lambda f: f(f))",
}
WRONG = {"text": "return 'Ada'", "number": "return 7", "list of numbers": "return [7]", "mapping": "return {'a': 1}"}

RIGHT = {("text", str)}
"""What is wrong elsewhere and right for a hook that answers with this type."""
WRONG_ANSWERS = [
    pytest.param(hook, answer, id=f"{answer}-{hook.name}")
    for answer in WRONG
    for hook in ANSWERING_HOOKS
    if not any((answer, kind) in RIGHT for kind in hook.returns)
]

each_hook = pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)


def outcome(host: Host, hook: Hook, caplog: pytest.LogCaptureFixture) -> tuple[str, int]:
    """Call the hook; return how the failure was told, and how many answers or deliveries came through all the same."""
    event = event_of(hook)
    before = attrs.asdict(event) if hook.parameters else None
    told = ""
    answers: Any = []
    with caplog.at_level(logging.WARNING, "crm_core.host"):
        try:
            answers = call(host, hook, event)
        except PluginError as error:
            told = error.message
    if before is not None:
        assert before == attrs.asdict(event)
    if hook.policy == "collect":
        return caplog.text, len(answers)
    if hook.policy == "deliver":
        return " ".join(str(error) for error in answers), len(host.subscribers(hook.name)) - len(answers)
    return told, 0


@each_hook
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_is_contained_and_named(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, hook: Hook, fault: str
) -> None:
    site.add("crm-bad", method(hook, FAULTS[fault]))
    site.add("crm-good", right(hook, "good"))
    host = open_host()
    told, others = outcome(host, hook, caplog)
    assert "plugin 'bad' of crm-bad 1.0 " in told
    assert hook.name in told
    # In a transaction and on demand the caller decides: it gets the error, and refuses the rows.
    assert (1 if hook.policy in ("collect", "deliver") else 0) == others
    failed = next(info for info in host.plugins() if info.name == "bad")
    assert ("broken" if hook.policy == "collect" else "active") == failed.status
    assert [(hook.name, 1, 1)] == [(each.hook, each.calls, each.failures) for each in failed.timings]


@pytest.mark.parametrize(("hook", "answer"), WRONG_ANSWERS)
def test_a_wrong_answer_is_named(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, hook: Hook, answer: str
) -> None:
    site.add("crm-bad", method(hook, WRONG[answer]))
    site.add("crm-good", right(hook, "good"))
    told, others = outcome(open_host(), hook, caplog)
    assert f"plugin 'bad' of crm-bad 1.0 failed in {hook.name}" in told or f"the contract of {hook.name}" in told
    assert "returned" in told
    assert (1 if hook.policy == "collect" else 0) == others


@pytest.mark.parametrize("hook", EVENT_HOOKS, ids=lambda hook: hook.name)
def test_an_event_and_its_records_cannot_be_changed(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, hook: Hook
) -> None:
    field = attrs.fields(type(event_of(hook)))[0].name
    target = {"first": f"event.{field}", "deliver": "event.changes[0].record.id"}.get(
        hook.policy, "event.changes[0].after.id"
    )
    holder, _, field = target.rpartition(".")
    site.add("crm-bad", method(hook, f"{target} = {holder}.{field}"))
    told, _ = outcome(open_host(), hook, caplog)
    assert f"plugin 'bad' of crm-bad 1.0 failed in {hook.name}: FrozenInstanceError" in told


@each_hook
def test_a_hook_that_comes_back_to_itself_is_stopped(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, hook: Hook
) -> None:
    site.add("crm-bad", method(hook, f"return self.again({'event' if hook.parameters else 'None'})"))
    site.add("crm-good", right(hook, "good"))
    host = open_host()
    from crm_bad.plugin import plugin  # type: ignore[import-not-found]

    def again(event: Any) -> Any:
        answer = call(host, hook, event)
        if hook.policy == "deliver" and answer:
            raise answer[0]
        return answer

    type(plugin).again = staticmethod(again)
    told, _ = outcome(host, hook, caplog)
    if hook.policy == "first":  # it has no answer while it is asking; the others have
        assert "" == told
    else:
        assert "plugin 'bad' of crm-bad 1.0" in told
        assert hook.name in told


@each_hook
def test_a_plugin_that_is_half_right_is_left_out_whole(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, hook: Hook
) -> None:
    wrong = f"{hook.name}s{hook.signature.removeprefix(hook.name)}: pass"
    site.add("crm-bad", right(hook, "bad"), wrong, hooks=[hook.name])
    site.add("crm-good", right(hook, "good"))
    host = open_host()
    with caplog.at_level(logging.WARNING, "crm_core.host"):
        answers = call(host, hook, event_of(hook))
    assert ["good"] == host._registry.names(hook.name)
    assert f"the contract has no hook '{hook.name}s'; did you mean '{hook.name}'?" in caplog.text
    if hook.policy == "collect":
        assert ["good"] == [each.plugin for each in answers]


@pytest.mark.parametrize("hook", CALLED_IN_TRANSACTION, ids=lambda hook: hook.name)
def test_a_hook_that_keeps_a_transaction_waiting_is_named(site: Any, open_host: Any, hook: Hook) -> None:
    site.add("crm-slow", method(hook, "self.until_named(); return []"))
    host = open_host(slow_after=0.02)
    from crm_slow.plugin import plugin  # type: ignore[import-not-found]

    named = threading.Event()
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            named.set()

    type(plugin).until_named = lambda self: named.wait(30)
    listener = Listener()
    logging.getLogger("crm_core.host").addHandler(listener)
    try:
        assert [] == call(host, hook, event_of(hook))
    finally:
        logging.getLogger("crm_core.host").removeHandler(listener)
    assert 1 == len(said)
    assert f"plugin 'slow' of crm-slow 1.0 has been in {hook.name} for " in said[0]


@each_hook
def test_an_interrupt_is_the_users_and_passes(site: Any, open_host: Any, hook: Hook) -> None:
    site.add("crm-bad", method(hook, "raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        call(open_host(), hook, event_of(hook))


@pytest.mark.parametrize("fault", ["raise RuntimeError('no')", "raise SystemExit", "import not_there_at_all", "1 +"])
def test_code_that_cannot_be_imported_is_contained(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    site.add("crm-bad", code=fault, hooks=["register_metrics"])
    site.add("crm-good", right(HOOKS[0], "good"), "register_metrics(self): return []")
    host = open_host()
    assert [] == host.collect("register_metrics")
    info = next(each for each in host.plugins() if each.name == "bad")
    assert ("broken", True) == (info.status, info.reason.startswith("cannot be imported: "))
    assert 1 == len(caplog.records)
    assert "\n" not in caplog.records[0].getMessage()


def test_strict_raises_instead_of_warning(site: Any, open_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("crm-bad", method(HOOKS[0], "raise ValueError('no')"))
    host = open_host()
    monkeypatch.setenv("CRM_STRICT_PLUGINS", "1")
    assert [] == host.collect(HOOKS[0].name)
    strict = open_host()
    with pytest.raises(PluginError, match=r"plugin 'bad' of crm-bad 1.0 failed in register_segments: ValueError: no"):
        strict.collect(HOOKS[0].name)
