"""Words to make up people, companies and messages from, in Latin, Persian and Armenian script; nobody real is meant."""

from __future__ import annotations

from typing import Final, Literal

import attrs

Script = Literal["latin", "persian", "armenian"]


@attrs.frozen(kw_only=True)
class Words:
    """The vocabulary of one script: names, cities with their country, and what is written in messages by topic."""

    language: str
    first: tuple[str, ...]
    last: tuple[str, ...]
    company_stems: tuple[str, ...]
    company_forms: tuple[str, ...]
    cities: tuple[tuple[str, str], ...]
    projects: tuple[str, ...]
    subjects: dict[str, tuple[str, ...]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LATIN: Final = Words(
    language="en",
    first=_words(
        "Ada Bruno Carla Dario Elena Felix Greta Hugo Ines Jonas Klara Leon Mara Nils Olga Paul Rosa Sven Tilda Vera "
        "Amelia Boris Celine Diego Emma Fiona Gaspard Hana Ivan Julia Kaspar Lena Milo Nora Oskar Petra Ruben"
    ),
    last=_words(
        "Arden Bellweather Castellan Dunmore Eisenholt Farrow Galanter Hartwood Jansson Kestrel Lindqvist Morane "
        "Northgate Oakley Penrose Quill Ravensby Silberstein Thornquist Underhill Valmont Westerby Yardley Zellweg "
        "Ashdown Brightwell Corvin Delacroix Easterling Fairweather Grimaldi Holloway Iselin Juniper"
    ),
    company_stems=_words(
        "Alder Beacon Cobalt Drift Ember Fathom Granite Harbor Indigo Juniper Keystone Lumen Meridian Nimbus Orchard "
        "Pinnacle Quarry Rivet Saffron Tundra Umbra Vantage Willow Xenon Yarrow Zephyr Basalt Cinder Dune Estuary"
    ),
    company_forms=("Works", "Logistics", "Foods", "Labs", "Textiles", "Energy", "Clinics", "Stores", "Tools"),
    cities=(
        ("Berlin", "DE"), ("Hamburg", "DE"), ("Lyon", "FR"), ("Paris", "FR"), ("Milan", "IT"), ("Utrecht", "NL"),
        ("London", "GB"), ("Leeds", "GB"), ("Boston", "US"), ("Austin", "US"), ("Denver", "US"), ("Toronto", "CA"),
    ),
    projects=("Licence", "Support plan", "Migration", "Pilot", "Extension", "Training", "Service", "Roll-out"),
    subjects={
        "request": ("Asked for a quote", "Wants a demonstration", "Asked about delivery times", "Needs the invoice"),
        "complaint": ("The delivery came late", "The invoice is wrong", "Waited two days", "A part is missing"),
        "praise": ("Very happy with the training", "Thanks for the quick help", "Will recommend us"),
        "question": ("Which plan fits us?", "Can we pay by quarter?", "How do we add users?"),
        "feedback": ("The new form is easier", "The manual is too long"),
        "": ("Talked through the offer", "Followed up", "Sent the documents", "Arranged a meeting", "Checked in"),
    },
)  # fmt: skip

PERSIAN: Final = Words(
    language="fa",
    first=_words(
        "سارا رضا مریم آرش نگار کیان پریسا بهرام لیلا داریوش شیرین فرهاد مینا کاوه نیلوفر سیاوش گلناز یاشار"
    ),
    last=(
        "احمدی", "کریمی", "موسوی‌نژاد", "رستگار", "بهاری", "كاظمي", "نیک‌خواه", "شریفی", "دهقان", "پارسا",
        "مهرآیین", "سپهری", "آذری‌فر", "یوسفی", "کیانی", "روشن‌دل",
    ),
    company_stems=("آفتاب", "البرز", "پارسه", "دنا", "زاگرس", "سپیده", "کهربا", "مهتاب", "هیرکان", "آریان", "باران"),
    company_forms=("صنعت", "تجارت", "گستر", "دارو", "غذا", "انرژی", "پوشاک"),
    cities=(("تهران", "IR"), ("شیراز", "IR"), ("اصفهان", "IR"), ("تبریز", "IR"), ("یزد", "IR"), ("دبی", "AE")),
    projects=("پروانهٔ نرم‌افزار", "قرارداد پشتیبانی", "راه‌اندازی آزمایشی", "آموزش کارکنان", "توسعهٔ سامانه"),
    subjects={
        "request": ("درخواست پیش‌فاکتور", "درخواست جلسهٔ معرفی", "پرسش دربارهٔ زمان تحویل"),
        "complaint": ("شکایت از تأخیر در تحویل", "فاکتور اشتباه است", "دو روز منتظر پاسخ ماندم"),
        "praise": ("سپاس از پاسخ سریع", "از آموزش بسیار راضی هستیم"),
        "question": ("کدام طرح برای ما مناسب است؟", "پرداخت سه‌ماهه ممکن است؟"),
        "feedback": ("فرم تازه ساده‌تر است",),
        "": ("گفت‌وگو دربارهٔ پیشنهاد", "پیگیری پیشنهاد", "ارسال مدارک", "هماهنگی جلسه"),
    },
)  # fmt: skip

ARMENIAN: Final = Words(
    language="hy",
    first=_words("Անի Արամ Լիլիթ Տիգրան Նարե Դավիթ Մարիամ Հայկ Գայանե Սուրեն Աստղիկ Վահե Սոնա Գոռ"),
    last=_words("Հակոբյան Սարգսյան Գրիգորյան Մանուկյան Պետրոսյան Վարդանյան Ավետիսյան Խաչատրյան Դանիելյան Մելիքյան"),
    company_stems=("Արարատ", "Սևան", "Մասիս", "Նաիրի", "Գեղարդ", "Արագած", "Լոռի", "Զվարթնոց"),
    company_forms=("Տրեյդ", "Ֆուդ", "Տեխ", "Շին", "Ֆարմ"),
    cities=(("Երևան", "AM"), ("Գյումրի", "AM"), ("Վանաձոր", "AM"), ("Դիլիջան", "AM")),
    projects=("Լիցենզիա", "Սպասարկման պայմանագիր", "Փորձնական ներդրում", "Ուսուցում"),
    subjects={
        "request": ("Խնդրեց գնային առաջարկ", "Ուզում է ցուցադրություն"),
        "complaint": ("Առաքումն ուշացել է", "Հաշիվը սխալ է"),
        "praise": ("Շնորհակալություն արագ օգնության համար",),
        "question": ("Ո՞ր փաթեթն է մեզ հարմար",),
        "feedback": ("Նոր ձևն ավելի պարզ է",),
        "": ("Քննարկեցինք առաջարկը", "Ուղարկեցինք փաստաթղթերը", "Պայմանավորվեցինք հանդիպել"),
    },
)

WORDS: Final[dict[Script, Words]] = {"latin": LATIN, "persian": PERSIAN, "armenian": ARMENIAN}

TEAMS: Final[tuple[tuple[str, tuple[tuple[str, str, float], ...]], ...]] = (
    ("Central", (("Mara Northgate", "latin", 0.33), ("Felix Quill", "latin", 0.27), ("Ines Valmont", "latin", 0.22),
                 ("Oskar Jansson", "latin", 0.30))),
    ("Tehran", (("نگار پارسا", "persian", 0.36), ("آرش شریفی", "persian", 0.29), ("لیلا سپهری", "persian", 0.24),
                ("کیان روشن‌دل", "persian", 0.19))),
    ("Yerevan", (("Անի Մելիքյան", "armenian", 0.31), ("Հայկ Սարգսյան", "armenian", 0.26),
                 ("Լիլիթ Դանիելյան", "armenian", 0.21))),
)  # fmt: skip
"""Teams, their people, the script of their customers, and how often each of them wins. The first one leads the team."""

SOURCES: Final[tuple[tuple[str, float, float], ...]] = (
    ("web", 0.30, 0.92), ("referral", 0.17, 1.35), ("trade fair", 0.13, 1.05), ("newsletter", 0.12, 0.80),
    ("partner", 0.10, 1.20), ("cold call", 0.10, 0.60), ("instagram", 0.08, 0.75),
)  # fmt: skip
"""Where customers come from: name, share, and how that changes the chance of winning."""

LOST_REASONS: Final = (("price", 38), ("chose a competitor", 24), ("no budget", 17), ("no answer", 13), ("timing", 8))
INDUSTRIES: Final = ("retail", "manufacturing", "health", "logistics", "education", "food", "software", "energy")
TITLES: Final = ("Director", "Buyer", "Accountant", "Office manager", "Head of IT", "Engineer", "Founder")
TAGS: Final = (("newsletter", 0.30), ("vip", 0.05), ("event 2026", 0.08), ("late payer", 0.04))
AREA_CODES: Final = tuple(range(201, 260))
