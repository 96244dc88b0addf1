"""Writes `data/`: two small made-up data sets of the same shapes as the real ones, with the same traits.

Run it from anywhere; the seed is fixed, so the files only change when this program does.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent
PRODUCTS = [
    ("GTX Basic", "GTX", 550),
    ("GTX Pro", "GTX", 4821),
    ("MG Special", "MG", 55),
    ("MG Advanced", "MG", 3393),
    ("GTK 500", "GTK", 26768),
]
# (account, sector, country, parent): some parents come after their subsidiaries.
ACCOUNTS = [
    ("Brightwater Tools", "retail", "United States", "Zagros Holding"),
    ("شرکت البرز", "technolgy", "Iran", ""),
    ("Արարատ Գործարան", "manufacturing", "Armenia", "Կովկաս Խումբ"),
    ("Cedar & Sons", "medical", "Kenya", ""),
    ("Delta Fitness", "retail", "Philipines", "Cedar & Sons"),
    ("Ebbtide Software", "technolgy", "Germany", ""),
    ("نور پارس", "medical", "Iran", "Zagros Holding"),
    ("Fernway", "marketing", "United States", ""),
    ("Zagros Holding", "finance", "Iran", ""),
    ("Կովկաս Խումբ", "finance", "Armenia", ""),
    ("Granite Labs", "software", "Norway", "Ebbtide Software"),
    ("Hollow Creek", "retail", "Brazil", ""),
]
TEAMS = [
    ("Ani Petrosyan", "Sara Karimi", "Central"),
    ("Reza Mohammadi", "Sara Karimi", "Central"),
    ("مریم احمدی", "Sara Karimi", "Central"),
    ("Tom Okafor", "Lusine Hakobyan", "East"),
    ("Դավիթ Սարգսյան", "Lusine Hakobyan", "East"),
    ("Nia Brandt", "Lusine Hakobyan", "East"),
    ("Olu Idle", "Lusine Hakobyan", "East"),
]
IDLE = "Olu Idle"
ORIGINS = ["organic_search", "paid_search", "social", "unknown", "direct_traffic", "email", ""]


def main() -> None:
    """Write all files."""
    chance = random.Random(20170101)
    maven, olist = HERE / "data" / "maven", HERE / "data" / "olist"
    _write(maven / "sales_teams.csv", ["sales_agent", "manager", "regional_office"], TEAMS)
    _write(maven / "products.csv", ["product", "series", "sales_price"], PRODUCTS)
    head = ["account", "sector", "year_established", "revenue", "employees", "office_location", "subsidiary_of"]
    rows = [
        (
            name,
            sector,
            chance.randrange(1979, 2017),
            f"{chance.uniform(20, 3000):.2f}",
            chance.randrange(10, 9000),
            country,
            parent,
        )
        for name, sector, country, parent in ACCOUNTS
    ]
    _write(maven / "accounts.csv", head, rows)
    head = [
        "opportunity_id",
        "sales_agent",
        "product",
        "account",
        "deal_stage",
        "engage_date",
        "close_date",
        "close_value",
    ]
    _write(maven / "sales_pipeline.csv", head, _pipeline(chance))
    _olist(chance, olist)


def _pipeline(chance: random.Random, deals: int = 240) -> Iterable[Sequence[object]]:
    agents = [agent for agent, _, _ in TEAMS if agent != IDLE]
    for number in range(deals):
        stage = chance.choices(["Won", "Lost", "Engaging", "Prospecting"], [48, 28, 18, 6])[0]
        product, _, price = chance.choice(PRODUCTS)
        closed = stage in ("Won", "Lost")
        account = chance.choice(ACCOUNTS)[0] if closed or chance.random() < 0.3 else ""
        engaged = date(2016, 10, 20) + timedelta(days=chance.randrange(400))
        days = chance.randrange(1, 138)
        yield (
            f"OPP{number:05}",
            chance.choice(agents),
            "GTXPro" if product == "GTX Pro" else product,
            account,
            stage,
            "" if stage == "Prospecting" else engaged,
            engaged + timedelta(days=days) if closed else "",
            round(price * chance.uniform(0.9, 1.1)) if stage == "Won" else 0 if closed else "",
        )


def _olist(chance: random.Random, folder: Path, leads: int = 200, won: int = 24) -> None:
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(leads)]
    first = {lead: date(2017, 6, 14) + timedelta(days=chance.randrange(340)) for lead in ids}
    rows = [(lead, first[lead], f"page-{chance.randrange(9)}", chance.choice(ORIGINS)) for lead in ids]
    head = ["mql_id", "first_contact_date", "landing_page_id", "origin"]
    _write(folder / "olist_marketing_qualified_leads_dataset.csv", head, rows)
    people = [f"{chance.getrandbits(128):032x}" for _ in range(6)]
    sellers = [f"{chance.getrandbits(128):032x}" for _ in range(won)]
    closed = []
    for number, (lead, seller) in enumerate(zip(chance.sample(ids, won), sellers, strict=True)):
        days = -3 if number == 7 else chance.randrange(2, 200)  # one was won before its first contact
        at = f"{first[lead] + timedelta(days=days)} {chance.randrange(24):02}:{chance.randrange(60):02}:00"
        closer = people[chance.randrange(3)]
        prepared = closer if number == 11 else people[3 + chance.randrange(3)]
        segment = chance.choice(["home_decor", "pet", "books"])
        closed.append((lead, seller, prepared, closer, at, segment, "online_medium", "reseller", "0.0"))
    head = ["mql_id", "seller_id", "sdr_id", "sr_id", "won_date", "business_segment", "lead_type", "business_type"]
    _write(folder / "olist_closed_deals_dataset.csv", [*head, "declared_monthly_revenue"], closed)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
