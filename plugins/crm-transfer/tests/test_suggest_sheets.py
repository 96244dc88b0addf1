"""A suggested mapping imports spreadsheets as well-known programs export them, without an edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from openpyxl import Workbook

from crm_core import CRM
from crm_core.settings import write_settings
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.suggest import suggest


@attrs.frozen(kw_only=True)
class Sheet:
    """A file, the currency of its workspace, what its columns mean, and how many records come out of it.

    `text` is written as it is; `rows` become a workbook. `own` are the types of new fields by name, `asks` parts of the
    questions that have to be asked, `kinds` the kinds of stages, `statuses` those of deals, `says`
    parts of the mapping.
    """

    name: str
    type: str
    text: str = ""
    rows: tuple[tuple[Any, ...], ...] = ()
    encoding: str = "utf-8"
    currency: str = "EUR"
    targets: dict[str, str]
    made: dict[str, int]
    own: dict[str, str] = attrs.field(factory=dict)
    asks: tuple[str, ...] = ()
    kinds: dict[str, str] = attrs.field(factory=dict)
    says: tuple[str, ...] = ()
    statuses: dict[str, str] = attrs.field(factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the file."""
        path = folder / self.name
        if not self.rows:
            path.write_bytes(self.text.encode(self.encoding))
            return path
        book = Workbook()
        for row in self.rows:
            book.active.append(row)
        book.save(path)
        return path


AMO = Sheet(  # amoCRM, leads: stages of its own, "нет" for nothing, an INN
    name="amocrm_export_leads.csv",
    type="deals",
    text="ID;Название сделки;Основной контакт;Компания;Ответственный;Этап сделки;Бюджет, руб.;Дата создания сделки;"
    "Дата закрытия;Теги сделки;ИНН;Рекламная кампания;Причина отказа\n"
    "101;Поставка окон;Иван Петров;ООО «Ромашка»;Мария Иванова;Первичный контакт;120 000;13.01.2026 10:15;не закрыта;"
    "vip;7707083893;весна;\n"
    "102;Ремонт офиса;Анна Ким;АО «Север»;Мария Иванова;Успешно реализовано;45 500;14.01.2026 12:00;20.01.2026 18:30;;"
    "7736050003;весна;\n"
    "103;Остекление;Пётр Сидоров;ООО «Ромашка»;Олег Ким;Закрыто и не реализовано;нет;15.01.2026 09:00;"
    "02.02.2026 11:00;;5003052454;сайт;дорого\n"
    "104;Двери;Ольга Белова;ИП Белова;Олег Ким;Переговоры;88 000;16.01.2026 16:45;не закрыта;опт;502498765432;сайт;\n",
    currency="RUB",
    targets={
        "Название сделки": "deal.title",
        "Этап сделки": "deal.stage",
        "Бюджет, руб.": "deal.amount",
        "Дата создания сделки": "deal.opened_at",
        "Ответственный": "deal.owner_id",
        "Компания": "deal.customer_id",
        "Причина отказа": "deal.lost_reason",
        "ИНН": "deal.fields.inn",
        "Рекламная кампания": "deal.fields.reklamnaya_kampaniya",
    },
    made={"deal": 4, "customer": 7, "participant": 4, "user": 2},
    own={"inn": "text"},
    kinds={
        "Первичный контакт": "open",
        "Переговоры": "open",
        "Успешно реализовано": "won",
        "Закрыто и не реализовано": "lost",
    },
)
BITRIX = Sheet(  # Bitrix24, deals
    name="DEAL_bitrix24.csv",
    type="deals",
    text="ID;Воронка;Стадия сделки;Название;Сумма;Валюта;Клиент;Ответственный;Дата начала;Ожидаемая дата закрытия;"
    "Сделка закрыта\n"
    "1;Общая;Новая;CRM-форма;0.00;RUB;ООО Вектор;Смирнова Е.;01.02.2026;08.02.2026;нет\n"
    "2;Общая;Сделка успешна;Внедрение;250000.00;RUB;ООО Вектор;Смирнова Е.;03.02.2026;13.02.2026;да\n"
    "3;Общая;Сделка провалена;Поддержка;90000.50;RUB;Иванов Иван;Котов А.;04.02.2026;18.02.2026;да\n"
    "4;Общая;Анализ причины провала;Аудит;15000.00;RUB;Иванов Иван;Котов А.;05.02.2026;19.02.2026;да\n"
    "5;Партнёры;Счет на предоплату;Обучение;40000.00;RUB;ЗАО Луч;Котов А.;06.02.2026;25.02.2026;нет\n",
    currency="RUB",
    targets={
        "Название": "deal.title",
        "Сумма": "deal.amount",
        "Стадия сделки": "deal.stage",
        "Дата начала": "deal.opened_at",
        "Ожидаемая дата закрытия": "deal.expected_close_on",
        "Валюта": "currency",
        "Сделка закрыта": "deal.fields.sdelka_zakryta",
    },
    made={"deal": 5, "customer": 3},
    own={"sdelka_zakryta": "boolean"},
    kinds={"Новая": "open", "Сделка успешна": "won", "Сделка провалена": "lost", "Анализ причины провала": "lost"},
)
ONE_C = Sheet(  # 1C, a list of counterparties: titles above, a total below
    name="Контрагенты 1С.xlsx",
    type="customers",
    rows=(
        ("Справочник «Контрагенты»",),
        ("Дата формирования:", "21.11.2026"),
        (),
        (
            "Код",
            "Наименование",
            "Полное наименование",
            "Вид контрагента",
            "ИНН",
            "КПП",
            "Телефон",
            "E-mail",
            "Расчётный счёт",
            "Задолженность",
            "Почтовый индекс",
            "Дата договора",
        ),
        (
            "00-000001",
            "Ромашка",
            "ООО «Ромашка»",
            "Юр. лицо",
            7707083893,
            "770701001",
            "+7 (495) 123-45-67",
            "info@romashka.example",
            "40702810400000012345",
            125000.5,
            101000,
            "01.02.2024",
        ),
        (
            "00-000002",
            "Петров И.И.",
            "ИП Петров",
            "Физ. лицо",
            770708389312,
            "-",
            "8 916 123 45 67",
            "нет",
            "40802810900000054321",
            "-",
            620014,
            "—",
        ),
        (
            "00-000003",
            "Север",
            "АО «Север»",
            "Юр. лицо",
            5003052454,
            "500301001",
            "нет",
            "sever@example.org",
            "40702810500000067890",
            0,
            190000,
            "15.03.2024",
        ),
        ("Итого", None, None, None, None, None, None, None, None, 125000.5),
    ),
    currency="RUB",
    targets={
        "Наименование": "customer.name",
        "Вид контрагента": "customer.kind",
        "ИНН": "customer.fields.inn",
        "КПП": "customer.fields.kpp",
        "Телефон": "contact_point.phone",
        "E-mail": "contact_point.email",
        "Задолженность": "customer.fields.zadolzhennost",
        "Почтовый индекс": "customer.fields.pochtovyy_indeks",
    },
    made={"customer": 3, "contact_point": 4},
    own={
        "inn": "text",
        "kpp": "text",
        "zadolzhennost": "decimal",
        "pochtovyy_indeks": "text",
        "raschetnyy_schet": "text",
        "data_dogovora": "day",
    },
    says=("header = 4  # high", 'name = "totals"'),
)
LEXWARE = Sheet(  # a German ERP: windows-1252, a title, decimal commas, addresses
    name="Kundenliste.csv",
    type="customers",
    text="Kundenliste der Muster GmbH;;;;;;;;;;;\nStand: 31.12.2025;;;;;;;;;;;\n;;;;;;;;;;;\n"
    "Kunden-Nr.;Anrede;Vorname;Name;Firma;Straße;PLZ;Ort;Telefon;E-Mail-Adresse;Umsatz 2025 (€);Rabatt\n"
    "10001;Herr;Jörg;Weiß;Weiß & Söhne GmbH;Hauptstraße 1;01067;Dresden;0351 123456;joerg@weiss.example;"
    "12.345,67;3 %\n"
    "10002;Frau;Änne;Groß;-;Bahnhofstr. 2;53111;Bonn;0228/654321;k.A.;99,00;-\n"
    "10003;Frau;Zoë;Müller;Müller AG;Am Markt 3;80331;München;k.A.;zoe@mueller.example;-;2,5 %\n",
    encoding="windows-1252",
    targets={
        "Vorname": "customer.name",
        "Name": "customer.name",
        "Firma": "relation.works for",
        "Ort": "customer.city",
        "PLZ": "customer.fields.plz",
        "Telefon": "contact_point.phone",
        "E-Mail-Adresse": "contact_point.email",
        "Straße": "customer.fields.strasse",
        "Umsatz 2025 (€)": "customer.fields.umsatz_2025",
        "Rabatt": "customer.fields.rabatt",
    },
    made={"customer": 5, "contact_point": 4, "relation": 2},
    own={"plz": "text", "umsatz_2025": "money", "rabatt": "decimal", "strasse": "text"},
    says=("header = 4  # high",),
    asks=("the encoding is guessed",),
)
SWISS = Sheet(  # an order list from Switzerland: thousands parted by apostrophes, amounts with their currency
    name="auftraege.xlsx",
    type="deals",
    rows=(
        (),
        ("Auftragsübersicht",),
        (),
        (
            "Auftragsnr.",
            "Bezeichnung",
            "Kunde",
            "Betreuer",
            "Status",
            "Auftragswert",
            "Marge",
            "Erstellt am",
            "Grund der Absage",
        ),
        ("A-1", "Sanierung Dach", "Bau AG", "R. Frei", "Besichtigt", "CHF 1'234'500.50", "1’250.00", "31.01.2026", ""),
        ("A-2", "Umbau Küche", "Meier", "R. Frei", "gewonnen", "CHF 800.00", "80.50", "14.02.2026", ""),
        ("A-3", "Garage", "Meier", "L. Roth", "nicht gewonnen", "CHF 12'000.00", "2’100.00", "03.03.2026", "zu teuer"),
    ),
    currency="CHF",
    targets={
        "Bezeichnung": "deal.title",
        "Kunde": "deal.customer_id",
        "Betreuer": "deal.owner_id",
        "Status": "deal.stage",
        "Auftragswert": "deal.amount",
        "Erstellt am": "deal.opened_at",
        "Marge": "deal.fields.marge",
    },
    made={"deal": 3, "customer": 2, "user": 2},
    own={"marge": "decimal"},
    kinds={"Besichtigt": "open", "gewonnen": "won", "nicht gewonnen": "lost"},
    says=("header = 4  # high", 'thousands = "’"', 'thousands = "\'"'),
    asks=("'Besichtigt'",),
)
FRENCH = Sheet(  # a French invoicing program
    name="Factures clients.csv",
    type="sales",
    text="N° facture;Date de facture;Code client;Nom du client;Montant HT;Total TTC;État;SIRET;Code postal;Commercial\n"
    "F2026-001;13/01/2026;C0001;Boulangerie Lefèvre;1 250,00 €;1 500,00 €;payée;73282932000074;05100;Hélène Morel\n"
    "F2026-002;02/02/2026;C0002;Zoé Martin;80,00 €;96,00 €;en attente;non renseigné;75011;Hélène Morel\n"
    "F2026-003;03/02/2026;C0001;Boulangerie Lefèvre;10,50 €;12,60 €;payée;73282932000074;05100;Luc Petit\n",
    targets={
        "Date de facture": "sale.sold_at",
        "Code client": "sale.customer_id",
        "Nom du client": "customer.name",
        "Total TTC": "sale.fields.total_ttc",
        "Montant HT": "sale.amount",
        "SIRET": "sale.fields.siret",
        "Commercial": "sale.owner_id",
    },
    made={"sale": 3, "customer": 2, "user": 2},
    own={"siret": "text", "code_postal": "text", "total_ttc": "money"},
)
SPANISH = Sheet(  # HubSpot in Spanish
    name="hubspot-negocios.csv",
    type="deals",
    text="ID de registro,Nombre del negocio,Etapa del negocio,Fecha de cierre,Propietario del negocio,Valor,Moneda,"
    "Empresa asociada,Fecha de creación,Teléfono\n"
    '9001,Licencias,Cierre ganado,2026-01-31,Lucía Gómez,"1,200.50",EUR,Acme S.L.,2026-01-02,\n'
    "9002,Soporte,Cierre perdido,2026-02-14,Lucía Gómez,300,EUR,Ibérica S.A.,2026-01-05,\n"
    "9003,Formación,Presentación programada,--,Sin asignar,--,EUR,Acme S.L.,2026-02-01,\n",
    targets={
        "Nombre del negocio": "deal.title",
        "Etapa del negocio": "deal.stage",
        "Fecha de cierre": "deal.closed_at",
        "Valor": "deal.amount",
        "Empresa asociada": "deal.customer_id",
        "Propietario del negocio": "deal.owner_id",
        "Fecha de creación": "deal.opened_at",
    },
    made={"deal": 3, "customer": 2},
    kinds={"Cierre ganado": "won", "Cierre perdido": "lost", "Presentación programada": "open"},
)
PERSIAN = Sheet(  # a Persian CRM: Persian digits, "ندارد", columns nobody knows
    name="معاملات.xlsx",
    type="deals",
    rows=(
        ("گزارش معاملات",),
        (
            "ردیف",
            "شماره معامله",
            "عنوان معامله",
            "نام مشتری",
            "مسئول فروش",
            "مرحله",
            "مبلغ (ریال)",
            "تاریخ ایجاد",
            "کد ملی",
            "شماره پرونده",
            "دلیل شکست",
        ),
        (
            "۱",
            "م-۱۰۱",
            "فروش نرم‌افزار",
            "شرکت آرین",
            "سارا کاظمی",
            "مذاکره",
            "۱٬۲۵۰٬۰۰۰٬۰۰۰",
            "2026-01-31",
            "۰۰۱۲۳۴۵۶۷۸",
            "پ ۱۲",
            "",
        ),
        (
            "۲",
            "م-۱۰۲",
            "پشتیبانی سالانه",
            "علی‌رضا کاظمی",
            "امید پارسا",
            "موفق",
            "۸۰٬۰۰۰٬۰۰۰",
            "2026-02-14",
            "ندارد",
            "پ ۱۳",
            "",
        ),
        (
            "۳",
            "م-۱۰۳",
            "آموزش",
            "شرکت نیک",
            "سارا کاظمی",
            "ناموفق",
            "ندارد",
            "2026-02-20",
            "۰۰۸۷۶۵۴۳۲۱",
            "پ ۱۴",
            "قیمت",
        ),
    ),
    currency="IRR",
    targets={
        "عنوان معامله": "deal.title",
        "نام مشتری": "deal.customer_id",
        "مسئول فروش": "deal.owner_id",
        "مرحله": "deal.stage",
        "مبلغ (ریال)": "deal.amount",
        "تاریخ ایجاد": "deal.opened_at",
        "کد ملی": "deal.fields.kd_mli",
        "شماره پرونده": "deal.fields.shmarh_prvndh",
        "دلیل شکست": "deal.lost_reason",
    },
    made={"deal": 3, "customer": 3, "user": 2},
    own={"kd_mli": "text"},
    kinds={"مذاکره": "open", "موفق": "won", "ناموفق": "lost"},
    says=("header = 2  # high", 'null_if = ["ندارد"]', 'key = "شماره معامله"'),
)
ARMENIAN = Sheet(  # an Armenian list of customers
    name="Հաճախորդներ.csv",
    type="customers",
    text="Հաճախորդների ցանկ\n\nԿոդ\tԱնվանում\tՏեսակ\tՀՎՀՀ\tՔաղաք\tՀեռ.\tԷլ. փոստ\t"
    "Գրանցման ամսաթիվ\tՊարտք\tՄեկնաբանություններ\n"
    "0001\tՆաիրի ՍՊԸ\tԻրավաբանական անձ\t01234567\tԵրևան\t+374 10 123456\tinfo@nairi.example\t"
    "13.02.2025\t150 000\tկանոնավոր\n"
    "0002\tԱրամ Պետրոսյան\tՖիզիկական անձ\tչկա\tԳյումրի\tչկա\taram@example.org\t01.03.2025\t-\tնոր\n",
    currency="AMD",
    targets={
        "Անվանում": "customer.name",
        "Տեսակ": "customer.kind",
        "ՀՎՀՀ": "customer.fields.hvhh",
        "Քաղաք": "customer.city",
        "Հեռ.": "contact_point.phone",
        "Էլ. փոստ": "contact_point.email",
        "Գրանցման ամսաթիվ": "customer.first_contact_at",
        "Պարտք": "customer.fields.partk",
        "Մեկնաբանություններ": "customer.fields.meknabanutyunner",
    },
    made={"customer": 2, "contact_point": 3},
    own={"hvhh": "text", "partk": "integer"},
    says=("header = 3  # high",),
)
PIPEDRIVE = Sheet(  # Pipedrive, in English
    name="pipedrive-deals.csv",
    type="deals",
    text="Deal - ID,Deal - Title,Deal - Value,Deal - Currency of Value,Deal - Organization,Deal - Owner,Deal - Stage,"
    "Deal - Status,Deal - Deal created,Deal - Expected close date,Deal - Lost reason,Person - Phone\n"
    "1,Licence,1200,USD,Acme,Sara,Negotiations Started,Won,2026-01-31 10:00:00,2026-03-01,,+1 555 0100\n"
    "2,Support,300.5,USD,Initech,Omid,Lead In,Open,2026-02-14 11:30:00,n/a,,\n",
    targets={
        "Deal - Title": "deal.title",
        "Deal - Value": "deal.amount",
        "Deal - Organization": "deal.customer_id",
        "Deal - Owner": "deal.owner_id",
        "Deal - Stage": "deal.stage",
        "Deal - Expected close date": "deal.expected_close_on",
        "Deal - Deal created": "deal.opened_at",
        "Deal - Status": "deal.stage",
        "Deal - Lost reason": "",
    },
    made={"deal": 2, "customer": 2, "user": 2},
    kinds={"Negotiations Started": "open", "Lead In": "open", "Won": "won"},
    statuses={"Licence": "won", "Support": "open"},
)
WOO = Sheet(  # a shop: orders with their buyers, dates of a half day, amounts with a sign
    name="orders.csv",
    type="sales",
    text="Order Number,Order Date,Billing Name,Billing Company,Billing Phone,Billing Postcode,"
    "Order Total,Order Status\n"
    '1001,"Jan 31, 2026 2:30 PM",Ada Lovelace,,(020) 123 4567,00501,"$1,200.50",completed\n'
    '1002,"Feb 1, 2026 9:05 AM",Alan Turing,Initech,(020) 765 4321,90210,$35.00,completed\n',
    currency="USD",
    targets={
        "Order Date": "sale.sold_at",
        "Order Total": "sale.amount",
        "Billing Name": "sale.customer_id",
        "Billing Postcode": "sale.fields.billing_postcode",
    },
    made={"sale": 2, "customer": 2},
    own={"billing_postcode": "text", "billing_phone": "text"},
)
PRODUCTS = Sheet(  # a German list of articles
    name="artikel.csv",
    type="products",
    text="Artikelnummer;Bezeichnung;Warengruppe;VK netto;EAN;Aktiv;Bestand\n"
    "00012;Schraube M4;Kleinteile;0,12;4006381333931;ja;12.500\n00013;Bohrer;Werkzeug;1.299,00;4006381333948;nein;7\n",
    targets={
        "Artikelnummer": "product.code",
        "Bezeichnung": "product.name",
        "Warengruppe": "product.category",
        "VK netto": "product.price",
        "Aktiv": "product.active",
        "EAN": "product.fields.ean",
    },
    made={"product": 2},
    own={"ean": "text"},
)
CALLS = Sheet(  # a log of calls from a telephone exchange in Russia
    name="Звонки.csv",
    type="interactions",
    text="№ п/п,Дата и время,Вид,Направление,Сотрудник,Длительность,Комментарий,Клиент\n"
    "1,13.01.2026 10:15,Звонок,Входящий,Мария,65,интересовался ценой,Иван Петров\n"
    "2,13.01.2026 11:40,Встреча,Исходящий,Олег,-,договорились,Анна Ким\n",
    targets={
        "Дата и время": "interaction.occurred_at",
        "Вид": "interaction.kind",
        "Направление": "interaction.direction",
        "Сотрудник": "interaction.author_id",
        "Длительность": "interaction.duration",
        "Комментарий": "interaction.body",
        "Клиент": "interaction.customer_id",
    },
    made={"interaction": 2, "customer": 2, "user": 2},
    asks=("'№ п/п' numbers the rows",),
)
ACCOUNTS = Sheet(  # Salesforce, accounts: words without spaces, ids of other rows and of users
    name="Account.csv",
    type="customers",
    text="Id,Name,ParentId,BillingCity,NumberOfEmployees,OwnerId,CreatedDate\n"
    "0015g00000AbCdEAAV,Universal Exports,0015g00000AbCdHAAV,London,120,0055g000001AAAA,2021-01-31T22:10:05.000Z\n"
    "0015g00000AbCdFAAV,Small Exports,,Paris,,0055g000001AAAA,2021-03-28T01:30:00.000Z\n"
    "0015g00000AbCdHAAV,Holding AG,,Bern,4000,0055g000001BBBB,2021-10-31T01:30:00.000Z\n",
    targets={"ParentId": "relation.subsidiary of", "OwnerId": "customer.fields.owner_id"},
    made={"customer": 3, "relation": 1, "user": 0},
    own={"number_of_employees": "integer"},
    asks=("no user is known by these numbers",),
)
OPPORTUNITIES = Sheet(  # Salesforce, opportunities
    name="Opportunity.csv",
    type="deals",
    text="Id,AccountId,Name,StageName,Amount,CloseDate,IsClosed,IsWon,CreatedDate,CurrencyIsoCode\n"
    "0065g00000X1,0015g00000AbCdEAAV,Big,Closed Won,100000.5,2022-02-28,true,true,2021-12-01T00:00:00.000Z,GBP\n"
    "0065g00000X2,0015g00000AbCdFAAV,Small,Closed Lost,0,2022-02-28,true,false,2021-12-02T00:00:00.000Z,EUR\n"
    "0065g00000X3,0015g00000AbCdHAAV,Middle,Agreed,5,2030-02-28,true,true,2021-12-03T00:00:00.000Z,EUR\n",
    targets={"StageName": "deal.stage", "AccountId": "deal.fields.account_id", "IsWon": "deal.fields.is_won"},
    made={"deal": 3},
    kinds={"Closed Won": "won", "Closed Lost": "lost", "Agreed": "open"},
    asks=(
        "no customer is known by these numbers",
        "says 'true' of deals in the stage 'Agreed', which is taken for not won",
        "taken for not closed",
    ),
)
CLOSED = Sheet(  # Pipedrive: two dates of closing, an organisation beside a person
    name="pipedrive-closed.csv",
    type="deals",
    text="Deal - ID,Deal - Title,Deal - Organization,Deal - Contact person,Deal - Stage,Deal - Status,"
    "Deal - Won time,Deal - Lost time\n"
    "1,First,Aras,Sara,Qualified,Open,,\n2,Second,Arax,Armen,Proposal Made,Lost,,2023-02-02 08:00:00\n"
    "3,Third,,Armen,Proposal Made,Won,2023-03-03 08:00:00,\n",
    targets={
        "Deal - Won time": "deal.closed_at",
        "Deal - Lost time": "deal.closed_at",
        "Deal - Organization": "deal.customer_id",
        "Deal - Contact person": "participant.customer_id",
    },
    made={"deal": 3, "customer": 4, "participant": 2},
    asks=("the company is the customer, the person takes part",),
    statuses={"First": "open", "Second": "lost", "Third": "won"},
)
LEADS = Sheet(  # HubSpot and Zoho: lists in a cell, rows with an address alone, words for nothing, no messages wanted
    name="leads.csv",
    type="customers",
    text="Record ID,First Name,Last Name,Email,Associated Company,Lead Source,Rating,Email Opt Out\n"
    "51,Sara,Karimi,sara@example.org,Aras,Web Site,(not set),false\n"
    "52,,,noname@example.org,,-None-,--None--,true\n53,Lena,Roth,lena@example.org,Aras;Arax,Fair,hot,false\n",
    targets={"Associated Company": "relation.works for", "Email Opt Out": "customer.fields.email_opt_out"},
    made={"customer": 4, "relation": 2, "contact_point": 3},
    asks=("'Aras;Arax' lists several: the first one is taken", "get the address for one", "withdraws a consent"),
    says=('null_if = ["-None-"]', 'null_if = ["(not set)", "--None--"]'),
)
SHEETS = (
    *(AMO, BITRIX, ONE_C, LEXWARE, SWISS, FRENCH, SPANISH, PERSIAN, ARMENIAN, PIPEDRIVE, WOO, PRODUCTS, CALLS),
    *(ACCOUNTS, OPPORTUNITIES, CLOSED, LEADS),
)


@pytest.mark.parametrize("given", SHEETS, ids=lambda given: given.name)
def test_a_sheet_of_a_well_known_program_is_imported_without_an_edit(tmp_path: Path, given: Sheet) -> None:
    write_settings(tmp_path / "ws", storage_url="memory:", currency=given.currency)
    path = given.write(tmp_path)
    with CRM.open(tmp_path / "ws") as crm:
        found = suggest(crm, given.type, path)
        assert given.targets.items() <= {each.column: each.target for each in found.columns}.items(), found.toml
        types = {name: content["type"] for named in found.fields.values() for name, content in named.items()}
        assert given.own.items() <= types.items(), found.toml
        stages = [stage for each in found.pipelines.values() for stage in each["stages"]]
        assert given.kinds.items() <= {stage["name"]: stage["kind"] for stage in stages}.items(), found.toml
        assert all(part in found.toml for part in given.says), found.toml
        assert all(any(part in question for question in found.questions) for part in given.asks), found.questions
        report = import_file(crm, path, parse_mapping(found.toml))
        assert not report.errors, (found.toml, [str(error) for error in report.errors])
        assert given.made == {name: crm.records(name).count() for name in given.made}, found.toml
        assert given.statuses.items() <= {deal.title: deal.status for deal in crm.deals.iterate()}.items()
        empty = [each.column for each in found.columns if not each.target]
        unused = [note.partition("does not use: ")[2] for note in report.files[0].notes if "does not use" in note]
        assert [", ".join(empty)] * bool(empty) == unused


def test_two_dates_of_closing_and_an_address_for_a_name_say_what_a_row_says(tmp_path: Path) -> None:
    write_settings(tmp_path / "ws", storage_url="memory:", currency="EUR")
    with CRM.open(tmp_path / "ws") as crm:
        for sheet in (CLOSED, LEADS):
            path = sheet.write(tmp_path)
            import_file(crm, path, parse_mapping(suggest(crm, sheet.type, path).toml))
        assert {"First": None, "Second": "2023-02-02", "Third": "2023-03-03"} == {
            deal.title: str(deal.closed_at)[:10] if deal.closed_at else None for deal in crm.deals.iterate()
        }
        names = {one.id: one.name for one in crm.customers.iterate()}
        assert {"First": "Aras", "Second": "Arax", "Third": "Armen"} == {
            deal.title: names[deal.customer_id] for deal in crm.deals.iterate() if deal.customer_id
        }
        assert {"noname@example.org", "Sara Karimi"} <= set(names.values())
        assert {"Fair", "Web Site", None} == {one.source for one in crm.customers.iterate()}
