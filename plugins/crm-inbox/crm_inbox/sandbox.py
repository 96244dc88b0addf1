"""The language of templates: a small part of Jinja2, which reaches no internals and ends in time, whatever it says.

Jinja2's sandbox keeps templates away from code. What is added here keeps them from taking all time and memory: only the
syntax that letters need, a count of steps, and a limit on every text before it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from time import monotonic
from typing import Any, Final, cast

import attrs
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from crm_core.errors import InvalidValue

LONGEST_SOURCE: Final = 100_000
"""Characters of a template."""
LONGEST: Final = 200_000
"""Characters of what one becomes, and of every text on the way."""
STEPS: Final = 10_000
"""Turns of all loops of one text together."""
SECONDS: Final = 2.0
_BITS: Final = 4_096
_CHECK: Final = "_counted"
_SYNTAX: Final = frozenset(
    {
        "Template",
        "Output",
        "TemplateData",
        "Name",
        "Const",
        "For",
        "If",
        "Assign",
        "With",
        "Getattr",
        "Getitem",
        "Slice",
    }
    | {"Filter", "Test", "Compare", "Operand", "CondExpr", "And", "Or", "Not", "Add", "Sub", "Mul", "Div", "FloorDiv"}
    | {"Mod", "Neg", "Pos", "Concat", "Tuple", "List", "Dict", "Pair", "Keyword", "Call"}
)
_WORDS: Final = {"Pow": "powers", "FilterBlock": "filter blocks", "CallBlock": "call blocks"}
_FILTERS: Final = frozenset(
    {"abs", "capitalize", "d", "default", "e", "escape", "first", "float", "int", "last", "length", "count", "list"}
    | {"lower", "max", "min", "reverse", "sort", "string", "sum", "title", "trim", "truncate", "unique"}
    | {"upper", "urlencode", "wordcount"}
)
_LOOP: Final = frozenset(
    {"index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem", "depth", "cycle"}
)


class Known(dict[str, Any]):
    """What templates know of something, by name; `of` says in words of what, for errors."""

    def __init__(self, content: Mapping[str, Any], of: str) -> None:
        super().__init__(content)
        self.of = of


class _Missing(StrictUndefined):
    """A name that nothing is known by: an error when it is used, unless it is asked `is defined` or has a default."""

    @property
    def _undefined_message(self) -> str:
        name = self._undefined_name
        if isinstance(self._undefined_obj, Known):
            return f"{name!r} of {self._undefined_obj.of} is not known"
        return f"there is no {name!r}" if self._undefined_hint is None else self._undefined_hint


@attrs.define
class _Allowance:
    """What is left of the steps and the time of one text."""

    ends: float
    steps: int = STEPS


_left: ContextVar[_Allowance] = ContextVar("left")


def _counted(value: Iterable[Any]) -> Iterator[Any]:
    allowance = _left.get()
    for each in value:
        allowance.steps -= 1
        if allowance.steps < 0:
            raise SecurityError(f"its loops take more than {STEPS:,} turns")
        if monotonic() > allowance.ends:
            raise SecurityError(f"it takes longer than {SECONDS:g} seconds")
        yield each


def _require_size(size: int) -> None:
    if size > LONGEST:
        raise SecurityError(f"it becomes longer than {LONGEST:,} characters")


def _plain(value: Any) -> Any:
    """Let texts and numbers be written, and what is missing be told; all else has no form of its own."""
    if isinstance(value, str | int | float | Undefined):
        return value
    raise SecurityError(f"a {type(value).__name__} cannot be written; {{ list | join(', ') }} writes a list")


def _range(*bounds: int) -> range:
    """Stand in for `range`."""
    made = range(*bounds)
    if len(made) > STEPS:
        raise SecurityError(f"a range of {len(made):,} numbers, more than {STEPS:,}")
    return made


def _replace(text: Any, old: Any, new: Any) -> Any:
    plain, gone, come = (each if isinstance(each, str) else str(each) for each in (text, old, new))
    _require_size(len(plain) + (plain.count(gone) + 1) * max(len(come) - len(gone), 0))
    return plain.replace(gone, come)


def _round(number: Any, digits: int = 0) -> Any:
    return round(number, max(min(digits, 20), -20)) if digits else round(number)


def _join(values: Iterable[Any], between: str = "") -> Any:
    found: list[str] = []
    size = 0
    for each in values:
        found.append(each if isinstance(each, str) else str(each))
        size += len(found[-1]) + len(between)
        _require_size(size)
    # What is markup already stays so; what is not is escaped by it.
    return Markup(between).join(found) if any(isinstance(each, Markup) for each in found) else between.join(found)


class Language(ImmutableSandboxedEnvironment):
    """Reads and fills in templates; `html` escapes what is filled in."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self, *, html: bool = False) -> None:
        # Not optimised: that would compute what a template says while it is read.
        super().__init__(autoescape=html, undefined=_Missing, optimized=False, finalize=_plain)
        self.keep_trailing_newline = True
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters |= {"join": _join, "replace": _replace, "round": _round, _CHECK: _counted}
        self.globals = {"range": _range}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow what loops know of themselves; all else is known by items."""
        return isinstance(obj, LoopContext) and attr in _LOOP

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow ranges, and the cycle of a loop."""
        return obj is _range or isinstance(getattr(obj, "__self__", None), LoopContext)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Say of what is not reachable that it is not known."""
        return self.undefined(obj=obj, name=attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute what may become too large."""
        sized = [each for each in (left, right) if isinstance(each, Sized) and not isinstance(each, Undefined)]
        if any(not isinstance(each, str) for each in sized) or (operator == "%" and sized):
            raise SecurityError(f"{operator!r} is for numbers and texts; text is put together by ~")
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str) and isinstance(times, int):
                    _require_size(len(text) * max(times, 0))
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _BITS:
                raise SecurityError("a number becomes too large")
        if operator == "+" and len(sized) == 2:
            _require_size(sum(map(len, sized)))
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _restrict(tree)
        return tree


def read(source: str, where: str, *, html: bool = False) -> None:
    """Read a template.

    Raises:
        InvalidValue: it is not understood; the message names the place (`where`) and the line.
    """
    with _told(where):
        _compiled(source, where, html=html)


def fill_in(source: str, where: str, known: Mapping[str, Any], *, html: bool = False) -> str:
    """Return the text that a template becomes.

    Args:
        source: the template.
        where: what errors call it, such as "template 'welcome', subject".
        known: what it may use, by name: texts, numbers, lists and `Known`s, nothing else.
        html: whether what is filled in is escaped for HTML.

    Raises:
        InvalidValue: it is not understood, uses what is not known, or takes too much time or space.
    """
    allowance = _Allowance(ends=monotonic() + SECONDS)
    token = _left.set(allowance)
    try:
        with _told(where):
            made, size = list[str](), 0
            for part in _compiled(source, where, html=html).generate(**known):
                size += len(part)
                _require_size(size)
                made.append(part)
            return "".join(made)
    finally:
        _left.reset(token)


@lru_cache(maxsize=64)  # a template to many is read once: to read it takes longer than to fill it in
def _compiled(source: str, where: str, *, html: bool) -> Any:
    if len(source) > LONGEST_SOURCE:
        raise SecurityError(f"it has {len(source):,} characters, more than {LONGEST_SOURCE:,}")
    language = _HTML if html else _PLAIN
    code = language.compile(source, name=where, filename=where)
    return language.template_class.from_code(language, code, dict(language.globals), None)


_PLAIN: Final = Language()
_HTML: Final = Language(html=True)


def _restrict(tree: nodes.Template) -> None:
    """Refuse syntax that letters do not need, and count the turns of loops."""
    waiting: list[nodes.Node] = [tree]
    while waiting:
        node = waiting.pop()
        kind = type(node).__name__
        if kind not in _SYNTAX:
            raise TemplateSyntaxError(f"{_WORDS.get(kind, kind.lower())} have no place in a template", node.lineno)
        if isinstance(node, nodes.Name) and node.name.startswith("_"):
            raise TemplateSyntaxError(f"{node.name!r} is no name that a template may use", node.lineno)
        if isinstance(node, nodes.Filter) and node.name == _CHECK:
            raise TemplateSyntaxError(f"there is no filter {node.name!r}", node.lineno)
        waiting += node.iter_child_nodes()
        _bound(node)


def _bound(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Concat):
            setattr(node, field, _summed(value))
        elif isinstance(value, list):
            value[:] = [_summed(each) if isinstance(each, nodes.Concat) else each for each in value]
    if isinstance(node, nodes.For):
        if node.recursive:
            raise TemplateSyntaxError("loops do not call themselves", node.lineno)
        node.iter = nodes.Filter(node.iter, _CHECK, [], [], None, None, lineno=node.lineno)
    # A list of lists of lists is twice as long at each step, and no text shows it before it is written out.
    if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        parts: list[nodes.Node] = []
        for each in node.items:
            parts += [each.key, each.value] if isinstance(each, nodes.Pair) else [each]
        if not all(isinstance(part, nodes.Const) for part in parts):
            raise TemplateSyntaxError("lists hold texts and numbers only", node.lineno)


def _summed(found: nodes.Concat) -> nodes.Expr:
    """Return `a ~ b` as a sum of texts, whose size is looked at before it is made."""
    texts = [_summed(each) if isinstance(each, nodes.Concat) else each for each in found.nodes]
    total: nodes.Expr | None = None
    for each in texts:
        text = nodes.Filter(each, "string", [], [], None, None, lineno=found.lineno)
        total = text if total is None else nodes.Add(total, text, lineno=found.lineno)
    return cast(nodes.Expr, total)


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except TemplateSyntaxError as error:
        raise _wrong(where, error.lineno, error.message or "is not understood", "syntax") from None
    except UndefinedError as error:
        hint = "give it a value, or a default: {{ name | default('...') }}"
        raise _wrong(where, _line(error, where), error.message or "a name is not known", "known", hint) from None
    except TemplateError as error:
        raise _wrong(where, _line(error, where), error.message or type(error).__name__, "bounds") from None
    except RecursionError:
        raise _wrong(where, None, "it is nested too deeply", "bounds") from None
    except InvalidValue:
        raise
    except Exception as error:  # whatever a template computes: 1 / 0, "a" + 1
        told = " ".join(str(error).split()) or type(error).__name__
        raise _wrong(where, _line(error, where), told, "computed") from None


def _wrong(where: str, line: int | None, told: str, rule: str, hint: str = "") -> InvalidValue:
    place = f"{where}, line {line}" if line else where
    return InvalidValue(f"{place}: {told}", field="template", rule=rule, hint=hint)


def _line(error: Exception, where: str) -> int | None:
    """Return the line of the template at which an error came up."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == where:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
