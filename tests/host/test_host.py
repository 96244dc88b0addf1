"""Which plugins take part, in what order, and what is said of those that do not."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

import crm_core
from crm_core import CRM
from crm_core.errors import PluginCollision, PluginError, PluginMissing, UnknownStorage, Vetoed
from crm_core.events import Changing, Derived, Origin
from crm_core.extend import Command, Metric, Segment
from crm_core.host import CONTRACT, Host, hookimpl
from crm_core.records import Customer

from .samples import ANSWERS, HOOKS, event_of, right

SEGMENTS, METRICS = CONTRACT["register_segments"], CONTRACT["register_metrics"]
VETO = CONTRACT["before_deals_change"]


def told(host: Host) -> dict[str, tuple[str, str]]:
    return {info.name: (info.status, info.reason) for info in host.plugins() if info.reason != "disabled in crm.toml"}


def segment(name: str) -> str:
    return right(SEGMENTS, name)


def test_listing_and_asking_who_listens_imports_no_plugin(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"))
    host = open_host()
    assert {"one": ("active", "")} == told(host)
    assert (True, False) == (host.implements("register_segments"), host.implements("register_metrics"))
    assert [] == host.collect("register_metrics")
    assert "crm_one" not in sys.modules
    assert ["one"] == [each.item.name for each in host.collect("register_segments")]
    assert "crm_one.plugin" in sys.modules


def test_a_hook_imports_only_who_implements_it(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"))
    site.add("crm-two", right(METRICS, "two"))
    host = open_host()
    host.collect("register_metrics")
    assert [("one", False), ("two", True)] == [(i.name, i.loaded) for i in host.plugins() if i.name in ("one", "two")]


def test_a_register_hook_is_asked_once(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"))
    host = open_host()
    assert host.collect("register_segments") == host.collect("register_segments")
    assert [1] == [info.calls for info in host.plugins() if info.name == "one"]


def test_what_is_collected_names_its_distribution(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"), version="2.3")
    (collected,) = open_host().collect("register_segments")
    assert ("one", "crm-one", "2.3") == (collected.plugin, collected.distribution, collected.version)


def test_the_order_is_by_settings_then_by_name(site: Any, open_host: Any) -> None:
    for name in ("alpha", "beta", "gamma"):
        site.add(f"crm-{name}", right(VETO, name))
    event = event_of(VETO)
    by_name = [info.name for info, _ in open_host().veto(VETO.name, event)]
    assert ["alpha", "beta", "gamma"] == by_name
    by_settings = [info.name for info, _ in open_host(plugins_order=("gamma", "beta")).veto(VETO.name, event)]
    assert ["gamma", "beta", "alpha"] == by_settings


HERE = f"this is crm-core {crm_core.__version__}"
STALE = "names a hook in its manifest that is not there: the contract has no hook 'register_segment'"


@pytest.mark.parametrize(
    ("added", "status", "reason"),
    [
        ({"requires": ["crm-core>=0.2"]}, "incompatible", f"needs crm-core >=0.2, {HERE}"),
        ({"requires": ["crm_core (<0.1)"]}, "incompatible", f"needs crm-core <0.1, {HERE}"),
        ({"requires": ["crm-core~=7.0"]}, "incompatible", f"needs crm-core ~=7.0, {HERE}"),
        ({"requires": ["crm-core==7.*"]}, "incompatible", f"needs crm-core ==7.*, {HERE}"),
        ({"requires": ["crm-core>>1"]}, "incompatible", "has a requirement that cannot be read: 'crm-core>>1'"),
        ({"manifest": "hook_api = 9\nhooks = []"}, "incompatible", "speaks hook API 9, this crm-core speaks 1"),
        ({"manifest": ""}, "broken", "has no crm-plugin.toml in its package 'crm_one'"),
        ({"manifest": "hook_api = 1\nhooks = ['register_segment']"}, "broken", STALE),
    ],
)
def test_the_gate_refuses_before_any_import(
    site: Any, open_host: Any, added: dict[str, Any], status: str, reason: str
) -> None:
    site.add("crm-one", segment("one"), **added)
    host = open_host()
    said_status, said_reason = told(host)["one"]
    assert (status, reason) == (said_status, said_reason.partition(";")[0])
    assert [] == host.collect("register_segments")
    assert "crm_one" not in sys.modules


@pytest.mark.parametrize(
    "requires",
    [[], ["crm-core"], ["crm-core>=0.1,<0.2"], ["crm-core~=0.1.0"], ["crm-core>=7; extra == 'x'"], ["crm-corex>=7"]],
)
def test_the_gate_lets_in_what_the_range_allows(site: Any, open_host: Any, requires: list[str]) -> None:
    site.add("crm-one", segment("one"), requires=requires)
    assert {"one": ("active", "")} == told(open_host())


def test_a_manifest_that_the_code_outgrew_is_named(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"), hooks=["register_segments", "register_metrics"])
    host = open_host()
    host.check()
    reason = "is not what its manifest says: hook register_metrics is in the manifest, not in the code"
    assert {"one": ("broken", reason)} == told(host)


def test_check_finds_commands_that_the_manifest_lacks(site: Any, open_host: Any) -> None:
    site.add("crm-one", right(CONTRACT["register_commands"], "one"))
    host = open_host()
    host.check()
    assert {"one": ("broken", "the commands of its manifest are not those of its code")} == told(host)


def test_commands_come_from_manifests_alone(site: Any, open_host: Any) -> None:
    manifest = "hook_api = 1\nhooks = ['register_commands']\n[commands.one]\nhelp = 'h'\ntarget = 'one:main'\n"
    site.add("crm-one", right(CONTRACT["register_commands"], "one"), manifest=manifest)
    host = open_host()
    assert [Command(name="one", help="h", target="one:main")] == host.commands()
    assert "crm_one" not in sys.modules
    host.check()
    assert {"one": ("active", "")} == told(host)


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook.policy == "collect"], ids=lambda hook: hook.name)
def test_two_plugins_that_claim_one_name_are_both_named(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture, hook: Any
) -> None:
    if hook.name == "register_data_migrations":  # a migration is its owner's alone, which is checked first
        answer = ANSWERS[hook.name].format(name="one")
        site.add("crm-other", f"{hook.signature}: return {answer}")
        expected = (
            "plugin 'other' of crm-other 1.0 hands over a data migration of 'crm-one', expected its own distribution"
        )
    else:
        site.add("crm-a", right(hook, "name"), version="1.1")
        site.add("crm-b", right(hook, "name"), version="2.2")
        expected = "which crm-a 1.1 has already"
    with caplog.at_level(logging.WARNING, "crm_core.host"):
        collected = open_host().collect(hook.name)
    assert expected in caplog.text
    assert [] == [each for each in collected if each.plugin != "a"]


def test_a_name_of_the_kernel_cannot_be_claimed(site: Any, open_host: Any) -> None:
    site.add("crm-one", "register_topics(self): return [Topic(name='complaint', label='C')]")
    host = open_host()
    assert [] == host.collect("register_topics")
    reason = f"claims the topic 'complaint', which crm-core {crm_core.__version__} has already"
    assert {"one": ("broken", reason)} == told(host)


def test_a_broken_plugin_gives_its_names_and_all_it_handed_over_back(site: Any, open_host: Any) -> None:
    site.add("crm-a", segment("name"), "register_metrics(self): raise ValueError")
    site.add("crm-b", right(CONTRACT["register_topics"], "t"), right(METRICS, "name"))
    host = open_host()
    assert 1 == len(host.collect("register_segments"))
    assert ["b"] == [each.plugin for each in host.collect("register_metrics")]
    assert [] == host.collect("register_segments")
    assert not host.implements("register_segments")


def test_a_plugin_may_set_its_own_fields_only(site: Any, open_host: Any) -> None:
    fields = """
        @records.extension("{name}", extends=Customer)
        class Fields(Extension):
            points: int | None = records.integer("Points", default=None)

        class Plugin:
            @hookimpl
            def register_fields(self):
                return [Fields]
            @hookimpl
            def prepare_customers(self, event):
                return [Derived(0, {value})]

        plugin = Plugin()
    """
    hooks = ["prepare_customers", "register_fields"]
    site.add("crm-one", code=fields.format(name="one", value="Fields(points=3)"), hooks=hooks)
    event = event_of(CONTRACT["prepare_customers"])
    ((info, derived),) = open_host().derive("prepare_customers", event)
    assert ("one", 0, 3) == (info.name, derived.index, derived.values.points)
    thief = "__import__('crm_one.plugin').plugin.Fields(points=9)"
    site.add("crm-two", code=fields.format(name="two", value=thief), hooks=hooks)
    with pytest.raises(PluginError, match=r"plugin 'two' of crm-two 1\.0 .* it set Fields, fields of crm-one"):
        open_host().derive("prepare_customers", event)


@pytest.mark.parametrize("index", [-1, 1, True, "0"])
def test_an_answer_that_points_outside_the_batch_is_refused(site: Any, open_host: Any, index: object) -> None:
    site.add("crm-one", f"before_deals_change(self, event): return [Veto({index!r}, '', 'no')]")
    with pytest.raises(PluginError, match=r"returned index .* for a batch of 1"):
        open_host().veto(VETO.name, event_of(VETO))


def test_a_veto_hook_without_an_objection_may_return_nothing(site: Any, open_host: Any) -> None:
    site.add("crm-one", "before_deals_change(self, event): pass")
    assert [] == open_host().veto(VETO.name, event_of(VETO))


def test_the_first_answer_counts(site: Any, open_host: Any) -> None:
    site.add("crm-a", "choose_exchange_rate(self, event): return None")
    site.add("crm-b", "choose_exchange_rate(self, event): return Decimal(2)")
    site.add("crm-c", "choose_exchange_rate(self, event): return Decimal(3)")
    assert 2 == open_host().first("choose_exchange_rate", event_of(CONTRACT["choose_exchange_rate"]))


def test_a_delivery_is_opted_in_to(site: Any, open_host: Any) -> None:
    code = """
        class Plugin:
            seen = []
            @hookimpl(include=("import", "undo"))
            def on_deals_changed(self, event):
                self.seen.append(event.position)
        plugin = Plugin()
    """
    site.add("crm-one", code=code, hooks=["on_deals_changed"])
    (subscriber,) = open_host().subscribers("on_deals_changed")
    assert ("one", "on_deals_changed", {"import", "undo"}) == (subscriber.plugin, subscriber.hook, subscriber.include)
    subscriber.call(event_of(CONTRACT["on_deals_changed"]))
    assert [1] == sys.modules["crm_one.plugin"].plugin.seen


class MyHooks:
    @hookimpl
    def register_segments(self) -> list[Segment]:
        return [Segment(name="mine", label="Mine", help="", labels=(), assign=lambda query: [])]


@attrs.frozen
class Equal:
    """Two of these are equal, which is nobody's business."""

    @hookimpl
    def before_deals_change(self, event: Any) -> list[Any]:
        return []


class Wrong:
    @hookimpl
    def register_segment(self) -> list[Segment]:
        return []


def test_own_objects_need_no_distribution(open_host: Any) -> None:
    host = open_host(MyHooks())
    assert ["mine"] == [each.item.name for each in host.collect("register_segments")]
    assert {"MyHooks": ("active", "")} == told(host)
    assert {"crm-core": crm_core.__version__, "MyHooks": ""} == host.owners()


def test_equal_objects_are_two_plugins(open_host: Any) -> None:
    host = open_host(Equal(), Equal())
    assert {"Equal": ("active", ""), "Equal-2": ("active", "")} == told(host)
    host.veto(VETO.name, event_of(VETO))
    assert [1, 1] == [info.calls for info in host.plugins() if info.name.startswith("Equal")]


def test_own_code_that_is_wrong_fails_hard(open_host: Any) -> None:
    with pytest.raises(PluginError, match=r"plugin 'Wrong' of Wrong \(your own code\) implements register_segment"):
        open_host(Wrong())
    assert "broken" == told(open_host(Wrong(), tolerant=True))["Wrong"][0]


def test_a_file_of_hooks_needs_no_distribution(open_host: Any, tmp_path: Path) -> None:
    code = "from crm_core.host import hookimpl\nfrom crm_core.extend import Command, Topic\n"
    code += "@hookimpl\ndef register_topics(): return [Topic(name='گلایه', label='گلایه')]\n"
    code += "@hookimpl\ndef register_commands(): return [Command(name='hello', help='h', target='a:b')]\n"
    (tmp_path / "my_hooks.py").write_text(code, "utf-8")
    host = open_host(directory=tmp_path, plugins_paths=("./my_hooks.py",))
    assert ["گلایه"] == [each.item.name for each in host.collect("register_topics")]
    assert ["hello"] == [command.name for command in host.commands()]
    assert ["hello"] == [each.item.name for each in host.collect("register_commands")]


def test_a_file_of_hooks_that_is_not_there_fails_hard(open_host: Any, tmp_path: Path) -> None:
    with pytest.raises(PluginMissing, match=r"plugin 'my_hooks' of my_hooks .* is not there"):
        open_host(directory=tmp_path, plugins_paths=("./my_hooks.py",))


def test_a_plugin_that_settings_name_fails_hard(site: Any, open_host: Any) -> None:
    site.add("crm-one", "register_segments(self): raise ValueError('no')")
    with pytest.raises(PluginError, match=r"plugin 'one' of crm-one 1.0 failed in register_segments: ValueError: no"):
        open_host(plugins_enabled=("one",)).collect("register_segments")
    with pytest.raises(PluginMissing) as missing:
        open_host(plugins_enabled=("onne",))
    assert ("[plugins] enabled names 'onne', which is not installed", "did you mean 'one'?") == (
        missing.value.message,
        missing.value.hint,
    )


def test_only_enabled_plugins_run_when_any_is_named(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"))
    site.add("crm-two", segment("two"))
    host = open_host(plugins_enabled=("two",))
    assert ["two"] == [each.plugin for each in host.collect("register_segments")]


def test_a_disabled_plugin_is_named_by_either_name(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"))
    for name in ("one", "crm-one"):
        host = open_host(plugins_disabled=(name,))
        assert ["disabled"] == [info.status for info in host.plugins() if info.name == "one"]
        assert not host.implements("register_segments")


def test_a_misspelt_name_in_disabled_is_told(site: Any, open_host: Any, caplog: pytest.LogCaptureFixture) -> None:
    site.add("crm-one", segment("one"))
    open_host(plugins_disabled=("onne",))
    assert "[plugins] disabled names 'onne', which is not installed; did you mean 'one'?" in caplog.text


def test_two_distributions_with_one_plugin_name_are_both_named(
    site: Any, open_host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site.add("crm-a", segment("a"), plugin="same")
    site.add("crm-b", segment("b"), plugin="same", version="3.0")
    host = open_host()
    assert "plugin 'same' of crm-b 3.0 has the name of a plugin of crm-a 1.0" in caplog.text
    assert ["crm-a"] == [each.distribution for each in host.collect("register_segments")]


def test_a_plugin_that_cannot_be_done_without_is_required(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"))
    host = open_host(plugins_disabled=("one",))
    with pytest.raises(PluginError, match=r"plugin 'one' of crm-one 1.0 is disabled: disabled in crm.toml"):
        host.require("one")
    with pytest.raises(PluginMissing, match="no plugin 'onne' is installed"):
        host.require("onne")


def test_who_would_implement_a_hook_is_told_with_the_reason(site: Any, open_host: Any) -> None:
    site.add("crm-one", right(CONTRACT["register_storages"], "one"), code="import nowhere", hooks=["register_storages"])
    site.add("crm-two", right(CONTRACT["register_storages"], "two"))
    host = open_host()
    assert ["two"] == [each.plugin for each in host.collect("register_storages")]
    absent = next(info for info in host.absent("register_storages") if info.name == "one")
    assert "broken" == absent.status
    assert "cannot be imported: ModuleNotFoundError: No module named 'nowhere'" in absent.reason


def test_a_plugin_is_explained_with_its_last_failure(site: Any, open_host: Any) -> None:
    site.add("crm-one", "before_deals_change(self, event): return 1 / 0")
    host = open_host()
    with pytest.raises(PluginError) as failed:
        host.veto(VETO.name, event_of(VETO))
    assert "crm_one/plugin.py:10" in failed.value.message
    assert "run `crm plugins explain one`" in failed.value.hint
    explained = host.explain("one")
    assert ("hook", "before_deals_change (veto, deal)") in explained.facts
    assert explained.traceback.endswith("ZeroDivisionError: division by zero\n")


def test_hosts_share_nothing(open_host: Any) -> None:
    first, second = open_host(MyHooks()), open_host()
    assert (1, 0) == (len(first.collect("register_segments")), len(second.collect("register_segments")))


def test_threads_share_a_host(site: Any, open_host: Any) -> None:
    site.add("crm-one", segment("one"), right(VETO, "one"))
    host = open_host()
    gate = threading.Barrier(8)
    seen: list[tuple[int, int]] = []

    def work() -> None:
        gate.wait()
        vetoes = sum(len(host.veto(VETO.name, event_of(VETO))) for _ in range(50))
        seen.append((len(host.collect("register_segments")), vetoes))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(1, 50)] * 8 == seen


def test_an_empty_batch_needs_no_plugin(open_host: Any) -> None:
    assert [] == open_host().veto(VETO.name, Changing(changes=(), origin=Origin()))


def test_what_is_collected_is_what_the_contract_says(open_host: Any) -> None:
    class Mixed:
        @hookimpl
        def register_metrics(self) -> list[Any]:
            return [Segment(name="s", label="", help="", labels=(), assign=lambda query: [])]

    with pytest.raises(PluginError, match="it returned Segment as answer 1, expected Metric"):
        open_host(Mixed()).collect("register_metrics")
    assert Metric in CONTRACT["register_metrics"].returns
    assert (Derived,) == CONTRACT["prepare_customers"].returns


def test_a_collision_in_own_code_is_a_collision(open_host: Any) -> None:
    class Again(MyHooks):
        pass

    host = open_host(MyHooks(), Again())
    with pytest.raises(PluginCollision, match=r"claims the segment 'mine', which Again .* has already"):
        host.collect("register_segments")


def test_a_storage_whose_plugin_is_broken_fails_hard_with_the_reason(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRM_STRICT_PLUGINS", raising=False)
    site.add("crm-one", code="import nowhere", hooks=["register_storages"])
    with pytest.raises(UnknownStorage, match=r"plugin 'one' of crm-one 1\.0 is broken: cannot be imported: ModuleNot"):
        CRM.open(f"one:///{tmp_path}/crm.db")


def test_a_plugin_works_in_a_crm(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRM_STRICT_PLUGINS", raising=False)
    code = """
        @records.extension("one", extends=Customer)
        class Fields(Extension):
            points: int | None = records.integer("Points", default=None)

        class Plugin:
            seen = []
            @hookimpl
            def register_fields(self):
                return [Fields]
            @hookimpl
            def prepare_customers(self, event):
                for index, change in enumerate(event.changes):
                    yield Derived(index, Fields(points=len(change.record.name)))
            @hookimpl
            def before_customers_change(self, event):
                for index, change in enumerate(event.changes):
                    if change.record.name == "No":
                        yield Veto(index, "name", "no means no")
            @hookimpl
            def on_customers_changed(self, event):
                self.seen += [change.record.name for change in event.changes]

        plugin = Plugin()
    """
    hooks = ["before_customers_change", "on_customers_changed", "prepare_customers", "register_fields"]
    site.add("crm-one", code=code, hooks=hooks)
    with CRM.open("memory:") as crm:
        stored = crm.customers.add(Customer(name="نرگس"))
        fields = sys.modules["crm_one.plugin"].Fields
        assert 4 == crm.customers.get(stored.id).ext(fields).points
        with pytest.raises(Vetoed, match="no means no"):
            crm.customers.add(Customer(name="No"))
        assert ["نرگس"] == sys.modules["crm_one.plugin"].plugin.seen
        assert 0 == crm.host.require("one").failures
