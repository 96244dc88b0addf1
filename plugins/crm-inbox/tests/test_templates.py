from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, User
from crm_core.errors import InvalidValue, NotFound, UsageError
from crm_inbox import MessageTemplate, OutboxMessage, letter
from crm_inbox.sandbox import LONGEST, Known, fill_in, read
from crm_inbox.sending import outgoing
from crm_inbox.templates import in_language, versions

from .test_commands import Cli
from .test_outbox import only

pytestmark = pytest.mark.database("sqlite")


def filled(source: str, **known: Any) -> str:
    return fill_in(source, "here", known)


def refused(source: str, **known: Any) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        filled(source, **known)
    return caught.value


def test_a_template_is_filled_in_with_what_is_known() -> None:
    known = {"customer": Known({"name": "سارا", "tags": ["a", "b"]}, "the customer"), "n": 3}
    assert "سلام سارا!" == filled("سلام {{ customer.name }}!", **known)
    assert "A, B" == filled(
        "{% for t in customer.tags %}{{ t|upper }}{% if not loop.last %}, {% endif %}{% endfor %}", **known
    )
    assert "there 6 ab x1" == filled(
        "{{ customer.city|default('there') }} {{ n * 2 }} {{ customer.tags|join }} {{ 'x' ~ 1 }}", **known
    )
    assert "no yes" == filled("{{ 'a' if customer.city is defined else 'no' }} {% if n > 2 %}yes{% endif %}", **known)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("one\n{{ customer.nam }}", "here, line 2: 'nam' of the customer is not known"),
        ("{{ custmer.name }}", "here, line 1: there is no 'custmer'"),
        ("one\n\n{% if %}", "here, line 3: Expected an expression, got 'end of statement block'"),
        ("{{ 1 / 0 }}", "here, line 1: division by zero"),
        ("{{ name|nothing }}", "here, line 1: No filter named 'nothing'."),
    ],
)
def test_what_is_wrong_is_told_with_its_line(source: str, told: str) -> None:
    assert told == refused(source, customer=Known({}, "the customer")).message


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ customer.__class__.__mro__ }}",
        "{{ customer['__class__'] }}",
        "{{ customer.items() }}",
        "{{ customer.of }}",
        "{{ range.__globals__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '%s'|format(customer) }}",
        "{{ '%099999999d' % 1 }}",
        "{{ self }}",
        "{{ range }}",
        "{{ customer }}",
        "{{ customer.tags }}",
        "{{ _counted }}",
        "{% include 'secret' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ lipsum(n=9) }}",
        "{{ cycler.__init__ }}",
        "{{ namespace() }}",
        "{% for a in [1] %}{{ loop.__class__ }}{% endfor %}",
        "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
        "{{ customer.tags.append('x') }}",
        "{{ [1]|sum(attribute='__class__') }}",
        "{{ ['a']|sort(attribute='__class__.__mro__')|first }}",
        "{{ ['a', 'b']|max(attribute='__doc__') }}",
        "{% set range = customer.tags.append %}{{ range('x') }}",
    ],
)
def test_internals_are_out_of_reach(source: str) -> None:
    refused(source, customer=Known({"tags": ["a"]}, "the customer"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10 ** 9 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ ([0] * 1000000000)|length }}",
        "{{ range(1000000000)|list }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}" + "{% endfor %}" * 3,
        "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
        "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
        "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = a|replace('a', a) %}" * 60 + "{{ a }}",
        "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
        "{% set a = 9 %}" + "{% set a = a * a %}" * 60 + "{{ a }}",
        "{% set a = 'aaaaaaaaaaaaaaaa' %}" + "{% set a = range(9999)|join(a) %}" * 60 + "{{ a }}",
        "{{ 1|round(999999999, 'ceil') }}",
        "{{ 'x'|center(1000000000) }}",
        "{{ 'x'|indent(1000000000) }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% for a in range(9000) %}" + "x" * 90 + "{% endfor %}",
        "x" * (LONGEST + 1),
    ],
)
def test_a_bomb_ends_at_once(source: str) -> None:
    began = time.monotonic()
    refused(source)
    assert time.monotonic() - began < 10, "limits hold without the clock; the machine may be slow"


def test_html_is_escaped_and_plain_text_is_not() -> None:
    known = {"name": "<b>&", "tags": ["<i>"]}
    assert "<b>& <i>" == fill_in("{{ name }} {{ tags|join }}", "here", known)
    assert "<p>&lt;b&gt;&amp;&lt;b&gt;&amp; &lt;i&gt;</p>" == fill_in(
        "<p>{{ name ~ name }} {{ tags|join }}</p>", "here", known, html=True
    )
    read("<a href='{{ url }}'>x</a>", "here", html=True)


@pytest.fixture
def welcome(crm: CRM) -> str:
    crm.records(MessageTemplate).add_many(
        [
            MessageTemplate(
                name="welcome", subject="Hi {{ customer.name }}", body="Hello", html="<b>{{ customer.name }}</b>"
            ),
            MessageTemplate(name="welcome", language="fa", subject="سلام", body="{{ customer.name }} عزیز\nسفارش شما"),
            MessageTemplate(name="welcome", language="az-Arab", body="x"),
        ]
    )
    return "welcome"


def test_a_language_falls_back_to_its_own_then_to_any(crm: CRM, welcome: str) -> None:
    found = versions(crm, welcome)
    wanted = {"fa-IR": "fa", "FA": "fa", "de": "", None: "", "az-Arab-IR": "az-Arab", "az": ""}
    assert wanted == {tag: in_language(found, tag).language for tag in wanted}
    assert "fa" == in_language(found[1:], "de").language
    with pytest.raises(NotFound):
        versions(crm, "nothing")


def test_what_is_written_from_right_to_left_says_so(crm: CRM, welcome: str) -> None:
    found = versions(crm, welcome)
    ada = crm.customers.add(Customer(name="Ada <x>", language="fa"))
    persian = letter(crm, in_language(found, "fa"), ada)
    assert ("rtl", "\u200fAda <x> عزیز\nسفارش شما") == (persian.direction, persian.text)
    english = letter(crm, in_language(found, "en"), ada.evolve(language=None))
    assert ("ltr", "Hi Ada <x>") == (english.direction, english.subject)
    assert "<b>Ada &lt;x&gt;</b>" in english.html
    assert 'dir="ltr"' in english.html


def test_a_subject_that_begins_with_a_name_of_the_other_direction_is_not_turned_around(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    made = MessageTemplate(name="x", language="fa", subject="{{ customer.name }}، خوش آمدید", body="سلام")
    assert "\u200fAda، خوش آمدید" == letter(crm, made, ada).subject
    assert "سلام Ada" == letter(crm, made.evolve(subject="سلام {{ customer.name }}"), ada).subject


def test_a_template_for_any_language_is_written_as_its_own_words_are(crm: CRM) -> None:
    sara = crm.customers.add(Customer(name="سارا", language="fa"))
    ada = crm.customers.add(Customer(name="Ada"))
    made = MessageTemplate(name="x", body="{{ customer.name }}, {# سلام #}hello", html="<p>hello</p>")
    assert ["ltr", "ltr"] == [letter(crm, made, one).direction for one in (sara, ada)]
    assert 'dir="ltr"' in letter(crm, made, sara).html
    persian = made.evolve(body="{{ customer.name }} عزیز")
    assert ["rtl", "rtl"] == [letter(crm, persian, one).direction for one in (sara, ada)]
    only_names = made.evolve(body="{{ customer.name }}!")
    assert ["rtl", "ltr"] == [letter(crm, only_names, one).direction for one in (sara, ada)]


def test_own_fields_and_the_owner_are_known(crm: CRM) -> None:
    bo = crm.users.add(User(name="Bo", email="bo@example.org"))
    ada = crm.customers.add(Customer(name="Ada", owner_id=bo.id, tags=("vip",)))
    made = MessageTemplate(name="x", body="{{ owner.name }} {{ customer.tags|join }} {{ today }} {{ extra }}")
    assert "Bo vip 2026-11-22 7" == letter(crm, made, ada, {"extra": 7}).text
    with pytest.raises(InvalidValue, match="'city' of the customer is not known"):
        letter(crm, made.evolve(body="{{ customer.city }}"), ada)
    with pytest.raises(InvalidValue, match="it says nothing"):
        letter(crm, made.evolve(body="{% if false %}x{% endif %}"), ada)


def test_a_message_says_what_its_template_says_and_html_reaches_the_channel(crm: CRM, welcome: str) -> None:
    ada = crm.customers.add(Customer(name="Ada"), email="ada@example.org")
    crm.outbox.send(template="welcome", customer=ada.id, values={"unused": 1})
    leaves = outgoing(crm, only(crm))
    assert ("Hi Ada", "Hello") == (leaves.subject, leaves.text)
    assert "<b>Ada</b>" in leaves.html
    with pytest.raises(UsageError):
        crm.outbox.send("text", template="welcome", customer=ada.id)
    assert 1 == crm.records(OutboxMessage).count()


def test_templates_are_added_changed_shown_previewed_and_taken_back(crm: CRM, place: Path, tmp_path: Path) -> None:
    cli = Cli(place)
    crm.customers.add(Customer(name="سارا", language="fa-IR"), email="sara@example.org")
    file = tmp_path / "fa.txt"
    file.write_text("\ufeffسلام {{ customer.name }}\r\nخوب؟", "utf-8")
    assert "" == cli.json("templates", "add", "welcome", "--subject", "Hi", "--text", "Hello")["language"]
    assert "fa-IR" == cli.json("templates", "add", "welcome", "-l", "FA_ir", "--file", str(file))["language"]
    assert ["", "fa-IR"] == [one["language"] for one in cli.json("templates", "list")]
    seen = cli.json("templates", "preview", "welcome", "sara@example.org")
    assert ("سلام سارا\nخوب؟", "rtl") == (seen["text"], seen["direction"])
    assert "Hello" == cli.json("templates", "preview", "welcome")["text"]
    assert "already" not in cli("templates", "show", "welcome")
    assert "there is a template" in cli("templates", "add", "welcome", "--text", "x", code=2)
    cli("templates", "edit", "welcome", "--text", "Hello {{ x }}")
    assert "there is no 'x'" in cli("templates", "preview", "welcome", code=2)
    assert "Hello 5" in cli("templates", "preview", "welcome", "--set", "x=5")
    cli("ledger", "undo", "last")
    assert "Hello" == cli.json("templates", "preview", "welcome")["text"]
    cli("templates", "remove", "welcome")
    assert ["fa-IR"] == [one["language"] for one in cli.json("templates", "list")]
    file.write_text("one\n{% if %}", "utf-8")
    assert f"{file}, line 2" in cli("templates", "edit", "welcome", "-l", "fa-IR", "--file", str(file), code=2)
    assert "no language" in cli("templates", "add", "welcome", "-l", "???", "--text", "x", code=2)
