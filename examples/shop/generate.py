"""Writes a made-up sheet of a shop's order lines, with the traits of real ones.

    python examples/shop/generate.py orders.csv                  5,000 lines, the sheet of the walk-through
    python examples/shop/generate.py orders.csv --lines 500000   two years of a busy shop

One row is one line of an invoice. Rows of an invoice stand anywhere in the sheet; an invoice that begins with C
cancels, whole or in part, some of them what was bought before the sheet begins; a quarter of the rows have no customer;
some codes are no products (postage, discounts, bank charges); prices are 0 for what was damaged or given away; a
product stands twice in an invoice, a row twice in the sheet, a description changes; a few cells are simply wrong. The
same seed always writes the same sheet.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

COLUMNS = [
    "Invoice",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "Price",
    "Customer ID",
    "Customer",
    "Country",
]
START = datetime(2009, 12, 1, 8)  # noqa: DTZ001 - wall clock of the shop, as in the sheet
OPEN = 11 * 60  # minutes of a day
DAYS = 730
FIRST, LAST = (
    ["Ada", "Tom", "Maria", "Søren", "سارا", "رضا", "Արամ", "Լուսինե", "Ольга", "美咲", "Chloé", "Nkechi"],
    [
        "Smith",
        "Okafor",
        "Rossi",
        "Ångström",
        "کاظمی",
        "احمدی",
        "Պետրոսյան",
        "Սարգսյան",
        "Иванова",
        "田中",
        "Lefèvre",
        "Lee",
    ],
)
COUNTRIES = ["United Kingdom"] * 17 + ["Germany", "France", "EIRE", "Netherlands", "Armenia", "Iran", "Japan"]
THINGS = ["HEART", "LANTERN", "TEACUP", "CLOCK", "BUNTING", "LUNCH BOX", "CAKE STAND", "DOORMAT", "CANDLE", "BIRD"]
COLOURS = ["WHITE", "RED", "RETROSPOT", "IVORY", "PINK", "VINTAGE", "SILVER", "GREEN POLKA DOT"]
Row = list[str]


class Shop:
    """The shop while its sheet is written: what it sells, who buys, and the invoices so far."""

    def __init__(self, lines: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lines = lines
        self.products = [self._product(at) for at in range(max(500, min(4_000, lines // 100)))]
        self.customers = [self._customer(at) for at in range(max(40, min(6_000, lines // 90)))]
        self.number = 489_434
        self.sold: list[list[Row]] = []

    def rows(self) -> list[Row]:
        """Return all rows in the order of the sheet."""
        made: list[Row] = []
        minutes, step = 0.0, DAYS * OPEN * 18 / self.lines
        while len(made) < self.lines:
            minutes += 2 * step * self.chance.random()
            days, rest = divmod(int(minutes), OPEN)
            made += self._invoice(START + timedelta(days=days, minutes=rest))
        del made[self.lines - 1 :]
        self._spoil(made)
        return self._mixed(made)

    def _product(self, at: int) -> tuple[str, str, int]:
        code = f"{20_000 + at * 3}{self.chance.choice(['', '', 'A', 'B'])}"
        name = f"{self.chance.choice(COLOURS)} {self.chance.choice(THINGS)} {at:03}"
        return code, name, self.chance.choice([42, 65, 85, 125, 165, 195, 255, 295, 495, 795, 1295])

    def _customer(self, at: int) -> tuple[str, str, str]:
        name = f"{self.chance.choice(FIRST)} {self.chance.choice(LAST)}"
        return f"{12_346 + at}", name, self.chance.choice(COUNTRIES)

    def _invoice(self, at: datetime) -> list[Row]:
        kind = self.chance.random()
        if kind < 0.09 and self.sold:
            return self._cancellation(at)
        if kind < 0.12:
            return self._stock(at)
        self.number += 1
        number = str(self.number)
        customer = self._buyer()
        count = 1 + int(100 * self.chance.random() ** 4)
        rows = [self._line(number, at, customer) for _ in range(count)]
        if self.chance.random() < 0.15:
            rows.append(self._extra(number, at, customer))
        if self.chance.random() < 0.04:
            rows.append(list(self.chance.choice(rows)))  # the same row twice
        if self.chance.random() < 0.02:
            rows[-1][4] = _written(at + timedelta(minutes=1))  # typed in a minute later
        self.sold.append(rows)
        self.sold = self.sold[-500:]
        return rows

    def _buyer(self) -> tuple[str, str, str]:
        if self.chance.random() < 0.25:
            return "", "", self.chance.choice(COUNTRIES)
        return self.customers[int(len(self.customers) * self.chance.random() ** 2)]

    def _line(self, number: str, at: datetime, customer: tuple[str, str, str]) -> Row:
        code, name, pence = self.products[int(len(self.products) * self.chance.random() ** 2)]
        if self.chance.random() < 0.03:
            name = name.replace("  ", " ").title() + " (NEW)"
        quantity = self.chance.choice([1, 1, 2, 3, 6, 12, 24, 48])
        if self.chance.random() < 0.004:
            pence = 0  # given away
        return [number, code, name, str(quantity), _written(at), _pounds(pence), *customer]

    def _extra(self, number: str, at: datetime, customer: tuple[str, str, str]) -> Row:
        code, name, quantity, pence = self.chance.choice(
            [
                ("POST", "POSTAGE", 1, 1800),
                ("DOT", "DOTCOM POSTAGE", 1, 4250),
                ("M", "Manual", 1, 350),
                ("D", "Discount", -1, 275),
                ("BANK CHARGES", "Bank Charges", 1, 1500),
                ("gift_0001_20", "Dotcomgiftshop Gift Voucher £20.00", 1, 1667),
            ]
        )
        return [number, code, name, str(quantity), _written(at), _pounds(pence), *customer]

    def _cancellation(self, at: datetime) -> list[Row]:
        self.number += 1
        number = f"C{self.number}"
        if self.chance.random() < 0.1:  # of something bought before the sheet begins
            row = self._line(number, at, self._buyer())
            return [[*row[:3], f"-{row[3]}", *row[4:]]]
        sold = self.chance.choice(self.sold)
        whole = self.chance.random() < 0.3
        chosen = sold if whole else self.chance.sample(sold, self.chance.randrange(1, min(4, len(sold) + 1)))
        return [[number, *row[1:3], _negated(row[3]), _written(at), *row[5:]] for row in chosen]

    def _stock(self, at: datetime) -> list[Row]:
        """Damages, losses, and once in a while a bad debt: rows of the sheet that are nobody's purchase."""
        self.number += 1
        if self.chance.random() < 0.05:
            debt = [f"A{self.number}", "B", "Adjust bad debt", "1", _written(at), "-11062.06", "", "", "United Kingdom"]
            return [debt]
        code, _, _ = self.chance.choice(self.products)
        reason = self.chance.choice(["damages", "?", "lost", "wet/rusty", ""])
        count = self.chance.randrange(1, 60)
        return [[str(self.number), code, reason, f"-{count}", _written(at), "0", "", "", "United Kingdom"]]

    def _spoil(self, made: list[Row]) -> None:
        """Put a few mistakes in: days that are none, a quantity in words, an invoice of less than nothing."""
        for row in self.chance.sample(made, max(2, self.lines // 50_000)):
            row[4] = "31/11/2010 10:00"
        self.chance.choice(made)[3] = "a dozen"
        made.append([str(self.number + 1), "M", "Manual", "-1", "15/11/2011 12:00", "12.5", "", "", "United Kingdom"])

    def _mixed(self, made: list[Row]) -> list[Row]:
        """Move one row in ten anywhere, as when sheets of several tills were put together."""
        moved = [
            (self.chance.randrange(len(made)) if self.chance.random() < 0.1 else at, at) for at in range(len(made))
        ]
        return [made[at] for _, at in sorted(moved)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description="Write a made-up sheet of a shop's order lines.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--lines", type=int, default=5_000, help="rows of the sheet (default 5,000)")
    parser.add_argument("--seed", type=int, default=20_091_201)
    options = parser.parse_args(arguments)
    with options.file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_sheet(options.lines, options.seed))


def _sheet(lines: int, seed: int) -> Iterator[Row]:
    yield from Shop(lines, seed).rows()


def _written(at: datetime) -> str:
    return at.strftime("%d/%m/%Y %H:%M")


def _pounds(pence: int) -> str:
    return f"{pence // 100}.{pence % 100:02}".rstrip("0").rstrip(".") if pence else "0"


def _negated(quantity: str) -> str:
    return quantity[1:] if quantity.startswith("-") else f"-{quantity}"


if __name__ == "__main__":
    main()
