"""The encoding of a file that is not UTF-8 is told by its letters; a guess that is wrong is never a sure one."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.guess.encodings import guess_encoding
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import suggest

CUSTOMERS = {
    "German": "Jörg Weiß;Köln|Änne Groß;Düsseldorf|Zoë Müller;Würzburg|Günther Böhm;Österreich|Jürgen Schäfer;Lübeck",
    "French": "François Lefèvre;Besançon|Hélène Bérenger;Orléans|Noël Château;Nîmes|Agnès Forêt;Mâcon|Zoé Gaudé;Évry",
    "Spanish": "José Muñoz;Málaga|María Ibáñez;Córdoba|Íñigo Peña;Cádiz|Ramón Núñez;León|Andrés López;Ávila",
    "Portuguese": "João Gonçalves;São Paulo|Inês Simões;Évora|António Guimarães;Viseu|Conceição Araújo;Brasília",
    "Danish": "Søren Kjær;Århus|Åse Bjørn;Ærø|Jørgen Nørgård;Tromsø|Bjørk Sæther;Ålesund",
    "Polish": "Łukasz Wójcik;Kraków|Małgorzata Żółć;Łódź|Paweł Dąbrowski;Gdańsk|Zdzisław Święcicki;Poznań",
    "Czech": "Jiří Dvořák;Plzeň|Tomáš Černý;České Budějovice|Božena Němcová;Třebíč|Zdeněk Růžička;Děčín",
    "Hungarian": "Erdős Gábor;Győr|Kovács Jánosné;Székesfehérvár|Szűcs Ödön;Hódmezővásárhely|Tőkés Árpád;Nyíregyháza",
    "Romanian": "Ştefan Ţuţea;Timişoara|Ioan Bălan;Bucureşti|Ştefania Pârvu;Iaşi|Mihăiţă Dragoş;Constanţa",
    "Turkish": "Ayşe Yılmaz;İstanbul|Çağrı Öztürk;Muğla|Gökhan Şahin;Eskişehir|Işıl Güneş;Diyarbakır|Ömer Aydın;Iğdır",
    "Persian": "علي كاظمي;تهران|سارا رضايي;شيراز|اميد پارسا;گرگان|مريم چگيني;مشهد",
    "Arabic": "محمد عبدالله;القاهرة|فاطمة الزهراء;بغداد|أحمد إبراهيم;الرياض",
    "Russian": "Иван Петров;Москва|Анна Ким;Омск|Сергей Иванов;Новосибирск|ООО ВЕКТОР;КАЗАНЬ",
    "Ukrainian": "Тарас Шевченко;Київ|Леся Українка;Чернігів|Іван Франко;Вінниця|Оксана Єрмоленко;Рівне",
    "Greek": "Γιώργος Παπαδόπουλος;Αθήνα|Ελένη Νικολάου;Θεσσαλονίκη",
    "Lithuanian": "Šarūnas Žukauskas;Šiauliai|Gražina Čepaitė;Panevėžys|Ąžuolas Įkapė;Telšiai",
}
"""Names and cities; Persian as people write it where an encoding has the Arabic yeh and kaf."""
WRITTEN = [
    *((language, "windows-1252") for language in ("German", "French", "Spanish", "Portuguese", "Danish")),
    *((language, "mac-roman") for language in ("German", "French", "Spanish", "Portuguese", "Danish")),
    *((language, "cp850") for language in ("German", "French", "Spanish", "Danish")),
    *((language, "windows-1250") for language in ("Polish", "Czech", "Hungarian", "Romanian")),
    *((language, "iso-8859-2") for language in ("Polish", "Czech", "Hungarian", "Romanian")),
    *((language, "cp852") for language in ("Polish", "Czech", "Hungarian")),
    ("Turkish", "windows-1254"),
    ("Turkish", "iso-8859-9"),
    ("Turkish", "cp857"),
    ("Persian", "windows-1256"),
    ("Arabic", "windows-1256"),
    *(("Russian", encoding) for encoding in ("windows-1251", "koi8-r", "cp866", "mac-cyrillic")),
    ("Ukrainian", "windows-1251"),
    ("Greek", "windows-1253"),
    ("Lithuanian", "windows-1257"),
]


def written(folder: Path, language: str, encoding: str, rows: int | None = None) -> tuple[Path, str]:
    told = CUSTOMERS[language].split("|")[:rows]
    text = "no;name;city\n" + "".join(f"{number};{row}\n" for number, row in enumerate(told, 1))
    path = folder / "sheet.csv"
    path.write_bytes(text.encode(encoding))
    return path, text


@pytest.mark.parametrize(("language", "encoding"), WRITTEN)
def test_an_encoding_is_told_by_the_letters_of_its_language(tmp_path: Path, language: str, encoding: str) -> None:
    path, text = written(tmp_path, language, encoding)
    guess = guess_encoding(path)
    assert guess is not None
    assert text == path.read_bytes().decode(guess.name)
    assert guess.confidence in ("high", "medium")


@pytest.mark.parametrize(("language", "encoding"), WRITTEN)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_guess_from_a_few_words_is_right_or_doubts_itself_and_names_the_other(
    tmp_path: Path, language: str, encoding: str, rows: int
) -> None:
    path, text = written(tmp_path, language, encoding, rows)
    guess = guess_encoding(path)
    assert guess is not None
    if text != path.read_bytes().decode(guess.name):
        assert "low" == guess.confidence
        assert text == path.read_bytes().decode(guess.rival)


@pytest.mark.parametrize("encoding", ["windows-1252", "iso-8859-15", "mac-roman"])
def test_the_sign_of_the_euro_is_one_in_every_encoding_that_has_it(tmp_path: Path, encoding: str) -> None:
    text = "no;name;total\n1;Jörg Weiß;12 €\n2;Änne Groß;15 €\n3;Günther Böhm;19 €\n"
    (tmp_path / "e.csv").write_bytes(text.encode(encoding))
    guess = guess_encoding(tmp_path / "e.csv")
    assert guess is not None
    assert text == (tmp_path / "e.csv").read_bytes().decode(guess.name)


def test_both_readings_are_shown_where_either_may_be_meant(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "Hungarian", "windows-1250", 1)
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as crm:
        asked = suggest(crm, "customers", path).questions[0]
    assert "(low: windows-1252); are these words right: Erdõs, Gyõr; as windows-1250 they were Erdős, Győr" in asked


@pytest.mark.parametrize(
    ("language", "encoding", "name"),
    [("Polish", "windows-1250", "Łukasz Wójcik"), ("Turkish", "iso-8859-9", "Ayşe Yılmaz")],
)
def test_what_is_suggested_imports_the_letters_as_they_were(
    tmp_path: Path, language: str, encoding: str, name: str
) -> None:
    path, _ = written(tmp_path, language, encoding)
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as crm:
        found = suggest(crm, "customers", path)
        assert found.file["encoding_confidence"] in ("high", "medium")
        assert not import_file(crm, path, parse_mapping(found.toml)).errors
        assert name in {customer.name for customer in crm.customers.iterate()}
