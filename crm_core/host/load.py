"""Bringing a plugin's code in, and checking what it implements before any of it counts.

pluggy accepts misspelt names, defaults and keyword-only parameters in silence; so implementations are found and checked
here, and only then handed to it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any, Final

import attrs

from crm_core.errors import PluginError, PluginMissing
from crm_core.events import OriginKind
from crm_core.host.contract import CONTRACT, Hook, unknown_hook
from crm_core.host.marker import MARK, OPT_IN

CONTAINED: Final = (Exception, SystemExit)
"""What a plugin may raise without harm to others. KeyboardInterrupt is the user's, and passes."""
_MACHINERY: Final = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen")
"""Files that are never where a plugin went wrong."""
_REFUSED_OPTIONS: Final = ("wrapper", "hookwrapper", "tryfirst", "trylast", "optionalhook", "specname")
_ATTRIBUTES: Final = "plugin = MyPlugin(), an object or a module whose functions are marked with @hookimpl"


@attrs.frozen
class Found:
    """One checked implementation, bound: what is called, and the opt-in origins it asked for."""

    hook: Hook
    function: Any
    include: frozenset[OriginKind]


def import_object(module: str, attribute: str) -> object:
    """Import a plugin.

    Raises:
        PluginError: the import fails, or the module has no such attribute.
    """
    try:
        found: object = importlib.import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except CONTAINED as error:
        raise PluginError(f"cannot be imported: {describe(error)}") from error
    return found


def import_file(file: Path, name: str) -> ModuleType:
    """Run a Python file as the module of a plugin; it is not found by `import`, so it hides nothing.

    Raises:
        PluginMissing: there is no such file.
        PluginError: it fails.
    """
    if not file.is_file():
        raise PluginMissing("is not there", hint="[plugins] paths in crm.toml are relative to the workspace")
    full_name = f"crm_core_own.{name}"
    spec = importlib.util.spec_from_file_location(full_name, file)
    if spec is None or spec.loader is None:
        raise PluginError("is no Python file", hint="[plugins] paths in crm.toml name files that end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module  # attrs and pickle look a class's module up
    try:
        spec.loader.exec_module(module)
    except CONTAINED as error:
        del sys.modules[full_name]
        raise PluginError(f"cannot be imported: {describe(error)}") from error
    except BaseException:
        del sys.modules[full_name]
        raise
    return module


def implementations(plugin: object) -> Mapping[str, Found]:
    """Return the implementations of a plugin by hook, each checked against the contract.

    Raises:
        PluginError: something of it breaks the contract; none of it may be used.
    """
    if isinstance(plugin, type):
        raise PluginError(f"is the class {plugin.__name__}, expected an instance", hint=f"plugin = {plugin.__name__}()")
    found: dict[str, Found] = {}
    for attribute in _names(plugin):
        held = inspect.getattr_static(plugin, attribute, None)
        options = _options(held)
        if options is None:
            _check_unmarked(plugin, attribute, held)
            continue
        hook = _check_name(attribute, options)
        function = _bound(plugin, attribute, held)
        _check_form(hook, function, bound=isinstance(function, MethodType), options=options)
        found[hook.name] = Found(hook, function, frozenset(options.get("include") or ()))
    if not found:
        raise PluginError("implements no hook", hint=_ATTRIBUTES)
    return found


def describe(error: BaseException) -> str:
    """Return what was raised and where, in one line: the last place outside this package."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_MACHINERY):
            place = f" ({'/'.join(Path(code.co_filename).parts[-2:])}:{trace.tb_lineno})"
        trace = trace.tb_next
    try:
        text = " ".join(str(error).split())
    except CONTAINED:
        text = "(it cannot be shown as text)"
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _names(plugin: object) -> list[str]:
    try:
        return [name for name in dir(plugin) if not name.startswith("__")]
    except CONTAINED as error:
        raise PluginError(f"cannot be looked at: {describe(error)}") from error


def _options(held: object) -> dict[str, Any] | None:
    """Return the marks on an attribute, wherever the decorator was put in relation to others."""
    for place in (held, *(getattr(held, name, None) for name in ("__func__", "fget", "func"))):
        options = getattr(place, MARK, None) if place is not None and not isinstance(place, type) else None
        if isinstance(options, dict):
            return options
    return None


def _check_unmarked(plugin: object, attribute: str, held: object) -> None:
    mine = not isinstance(plugin, ModuleType) or getattr(held, "__module__", "") == plugin.__name__
    if attribute in CONTRACT and mine and callable(getattr(held, "__func__", held)):
        raise PluginError(f"has {attribute} without @hookimpl", hint="mark it, or give it another name")


def _check_name(attribute: str, options: Mapping[str, Any]) -> Hook:
    if refused := [option for option in _REFUSED_OPTIONS if options.get(option)]:
        raise PluginError(
            f"asks for {refused[0]} in {attribute}: hooks have no wrappers and no order of their own",
            hint="use crm_core.hookimpl; the order is [plugins] order in crm.toml, then the name",
        )
    hook = CONTRACT.get(attribute)
    if hook is None:
        raise PluginError(f"implements {attribute}: {unknown_hook(attribute)}", hint="see docs/contract.md")
    include = options.get("include") or ()
    if include and hook.policy != "deliver":
        raise PluginError(f"has include= on {attribute}: only on_* hooks are delivered by origin")
    if unknown := set(include) - OPT_IN:
        raise PluginError(f"has include={sorted(unknown)} on {attribute}; known are {', '.join(sorted(OPT_IN))}")
    return hook


def _bound(plugin: object, attribute: str, held: object) -> Any:
    """Bind a plain function, method, class method or static method; anything else would run code when it is read."""
    if isinstance(held, functools.partial | functools.cached_property | property) or not (
        inspect.isfunction(held) or isinstance(held, staticmethod | classmethod | MethodType)
    ):
        raise PluginError(f"has a {type(held).__name__} as {attribute}, expected a plain function")
    return getattr(plugin, attribute)


def _check_form(hook: Hook, function: Any, *, bound: bool, options: Mapping[str, Any]) -> None:
    try:
        parameters = tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise PluginError(f"has a {hook.name} without a signature: {error}") from error
    plain = all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)
    if not plain or tuple(p.name for p in parameters) != hook.parameters:
        wanted = hook.signature if bound else f"{hook.name}({', '.join(hook.parameters)})"
        shown = ", ".join((("self",) if bound else ()) + tuple(str(p) for p in parameters))
        raise PluginError(
            f"implements {hook.name}({shown}); the contract has {wanted}",
            hint="exactly these parameters, without defaults, *args or keyword-only ones",
        )
    inner = inspect.unwrap(getattr(function, "__func__", function))
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        raise PluginError(f"implements {hook.name} as async: the core is synchronous", hint="use def")
    if inspect.isgeneratorfunction(inner) and hook.policy in ("deliver", "first"):
        raise PluginError(
            f"implements {hook.name} as a generator: its body would never run",
            hint=f"return instead of yield: {hook.name} has the policy {hook.policy!r}",
        )
