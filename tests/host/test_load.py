"""What a plugin's code must look like before any of it counts."""

from __future__ import annotations

import functools
from typing import Any

import pluggy
import pytest

from crm_core.errors import PluginError
from crm_core.host import hookimpl, load

raw = pluggy.HookimplMarker("crm_core")


class ByDefault:
    @hookimpl
    def on_deals_changed(self, event: Any = None) -> None: ...


class KeywordOnly:
    @hookimpl
    def on_deals_changed(self, *, event: Any) -> None: ...


class Anything:
    @hookimpl
    def on_deals_changed(self, *args: Any, **kwargs: Any) -> None: ...


class OtherName:
    @hookimpl
    def on_deals_changed(self, deals: Any) -> None: ...


class TooMany:
    @hookimpl
    def register_metrics(self, event: Any) -> list[Any]: ...


class NoEvent:
    @hookimpl
    def on_deals_changed(self) -> None: ...


class Misspelt:
    @hookimpl
    def register_metric(self) -> list[Any]: ...


class Unmarked:
    @hookimpl
    def register_segments(self) -> list[Any]: ...

    def register_metrics(self) -> list[Any]: ...


class Wrapper:
    @raw(wrapper=True)
    def register_metrics(self) -> Any:
        return (yield)


class First:
    @raw(tryfirst=True)
    def register_metrics(self) -> list[Any]: ...


class Last:
    @raw(trylast=True)
    def register_metrics(self) -> list[Any]: ...


class Renamed:
    @raw(specname="register_metrics")
    def my_metrics(self) -> list[Any]: ...


class Lazy:
    @hookimpl
    def on_deals_changed(self, event: Any) -> Any:
        yield event


class Asynchronous:
    @hookimpl
    async def on_deals_changed(self, event: Any) -> None: ...


class OptsInToVeto:
    @hookimpl(include=["import"])
    def before_deals_change(self, event: Any) -> list[Any]: ...


class Property:
    @property
    @hookimpl
    def register_metrics(self) -> list[Any]:
        raise AssertionError("a property must not be read")


class Partial:
    register_metrics = hookimpl(functools.partial(list))


class Empty:
    pass


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (ByDefault(), "on_deals_changed(self, event: 'Any' = None); the contract has on_deals_changed(self, event)"),
        (KeywordOnly(), "the contract has on_deals_changed(self, event)"),
        (Anything(), "the contract has on_deals_changed(self, event)"),
        (OtherName(), "the contract has on_deals_changed(self, event)"),
        (TooMany(), "the contract has register_metrics(self)"),
        (NoEvent(), "implements on_deals_changed(self); the contract has on_deals_changed(self, event)"),
        (Misspelt(), "the contract has no hook 'register_metric'; did you mean 'register_metrics'?"),
        (Unmarked(), "has register_metrics without @hookimpl"),
        (Wrapper(), "asks for wrapper in register_metrics"),
        (First(), "asks for tryfirst in register_metrics"),
        (Last(), "asks for trylast in register_metrics"),
        (Renamed(), "asks for specname in my_metrics"),
        (Lazy(), "as a generator: its body would never run"),
        (Asynchronous(), "as async: the core is synchronous"),
        (OptsInToVeto(), "has include= on before_deals_change"),
        (Property(), "has a property as register_metrics"),
        (Partial(), "has a partial as register_metrics"),
        (Empty(), "implements no hook"),
        (ByDefault, "is the class ByDefault, expected an instance"),
        (None, "implements no hook"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_breaks_the_contract_is_refused_in_words(plugin: object, told: str) -> None:
    with pytest.raises(PluginError) as refused:
        load.implementations(plugin)
    assert told in refused.value.message


class Everything:
    @hookimpl
    def register_metrics(self) -> Any:
        yield from ()

    @hookimpl(include=("import", "undo"))
    def on_deals_changed(self, event: Any) -> None: ...

    @hookimpl
    @staticmethod
    def on_sales_changed(event: Any) -> None: ...

    @staticmethod
    @hookimpl
    def on_customers_changed(event: Any) -> None: ...

    @hookimpl
    @classmethod
    def before_deals_change(cls, event: Any) -> Any:
        yield from ()

    @property
    def other(self) -> int:
        raise AssertionError("a property must not be read")


def test_methods_static_methods_class_methods_and_generators_of_answers_are_taken() -> None:
    found = load.implementations(Everything())
    assert [
        "before_deals_change",
        "on_customers_changed",
        "on_deals_changed",
        "on_sales_changed",
        "register_metrics",
    ] == sorted(found)
    assert {"import", "undo"} == found["on_deals_changed"].include
    assert frozenset() == found["on_sales_changed"].include


def test_an_unknown_origin_is_refused_where_it_is_written() -> None:
    with pytest.raises(PluginError, match=r"include=\['imports'\]"):
        hookimpl(include=["imports"])  # type: ignore[list-item]
