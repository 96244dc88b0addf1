from __future__ import annotations

import pytest

from crm_core import CRM
from crm_transfer.compiled import compile_mapping
from crm_transfer.errors import MappingError
from crm_transfer.mapping import parse_mapping
from crm_transfer.readers import Context

RECORD = '[[record]]\ntype = "customer"\nkey = "no"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "record is missing"),
        ('[[record]]\nkey = "no"', "type is missing"),
        ('[[record]]\ntype = "customer"', r"\[\[record\]\] 1 \(customer\): key is missing"),
        (RECORD + 'colour = "red"', "'colour' is not known"),
        (RECORD + '[record.fields]\nname = { column = "n", const = "x" }', "name needs exactly one of"),
        (RECORD + '[record.fields]\nname = { column = "n", nul_if = "x" }', "'nul_if' is not known"),
        (RECORD + "[record.fields]\nname = 3", "name must be a column's name or a table, found 3"),
        (RECORD + '[record.fields]\nname = { template = "x" }', "template names no column"),
        (RECORD + 'when = { column = "x" }', "needs a column and one of: is, not, like, not_like, given, same_as"),
        ('[file]\ndecimal = ","\nthousands = ","\n' + RECORD, "thousands is the same as decimal"),
        ("[file\n", "is not TOML"),
    ],
)
def test_a_mistake_in_a_mapping_names_file_and_key(text: str, told: str) -> None:
    with pytest.raises(MappingError, match=told) as caught:
        parse_mapping(text, name="people.toml")
    assert caught.value.message.startswith("people.toml")


@pytest.fixture(scope="module")
def context() -> Context:
    with CRM.open("memory:") as crm:
        return Context(
            registry=crm.registry,
            zone=crm.zone,
            currency="EUR",
            pipelines=crm.pipelines,
            default_pipeline=next(iter(crm.pipelines.values())),
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[record]]\ntype = "dog"\nkey = "no"', "there is no record type 'dog'"),
        (RECORD + '[record.fields]\nnmae = "name"', "customer has no field 'nmae'"),
        (RECORD + '[record.fields]\nname = "nom"', "people.csv has no column 'nom'"),
        (RECORD + '[record.fields]\nowner_id = "name"', "points at a user, so it needs ref"),
        (RECORD + '[record.fields]\nowner_id = { column = "name", ref = "team" }', "ref must be 'user'"),
        ('[[record]]\ntype = "deal"\nkey = "no"', "title must be mapped"),
        (RECORD + 'same = ["name"]\n[record.fields]\nname = "name"', "same: 'name' comes first and points at nothing"),
        (RECORD + 'same = ["owner_id"]\n[record.fields]\nname = "name"', "same: 'owner_id' is no mapped field"),
        (RECORD + '[record.fields]\nbirth_date = { column = "name", zone = "Mars" }', "'Mars' is no time zone"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_before_anything_is_read(context: Context, text: str, told: str) -> None:
    with pytest.raises(MappingError, match=told):
        compile_mapping(parse_mapping(text), ["no", "name"], context, "people.csv")


def test_unused_columns_are_listed(context: Context) -> None:
    mapping = parse_mapping(RECORD + '[record.fields]\nname = "name"')
    compiled = compile_mapping(mapping, ["no", "name", "shoe size", "error_row"], context, "people.csv")
    assert ("shoe size",) == compiled.unused
