"""What columns and values are called, in English, German, Persian, Armenian and Russian.

Words are folded as `plain` does: no spaces, no punctuation, one case.
"""

from __future__ import annotations

import re
from typing import Final

from crm_core.values import text_key


def plain(name: str) -> str:
    """Fold a column's name for comparison.

    >>> plain("E-Mail "), plain("شماره_تماس") == plain("شماره تماس")
    ('email', True)
    """
    return re.sub(r"[\W_]+", "", text_key(name))


def _listed(words: str) -> tuple[str, ...]:
    return tuple(plain(word) for word in words.split())


def _set(words: str) -> frozenset[str]:
    return frozenset(_listed(words))


def _sets(words: dict[str, str]) -> dict[str, frozenset[str]]:
    return {name: _set(listed) for name, listed in words.items()}


FIELDS: Final = _sets(
    {
        "name": "name fullname displayname contact contactname customername clientname personname lead leadname "
        "product productname agent user kunde kundenname vollständigername ansprechpartner kontakt "
        "نام نام_کامل نام_و_نام_خانوادگی نام_مشتری مشتری անուն անուն_ազգանուն հաճախորդ имя фио название наименование "
        "клиент контакт полное_имя",
        "kind": "kind type customertype typ art kundenart نوع ներ տեսակ тип вид",
        "role": "role rolle relationship نقش դեր роль",
        "source": "source origin leadsource channel utmsource quelle herkunft kanal منبع نحوه_آشنایی "
        "աղբյուր источник "
        "канал",
        "tags": "tags labels keywords schlagwörter schlagworte برچسب برچسب‌ها պիտակներ метки теги",
        "first_contact_at": "firstcontact firstcontactdate created createdat createdate createddate registered "
        "registeredat registrationdate since customersince signupdate joined erstkontakt angelegt "
        "angelegtam erstellt "
        "kundeseit تاریخ_ثبت تاریخ_ایجاد اولین_تماس գրանցման_ամսաթիվ ստեղծված создан дата_создания дата_регистрации",
        "birth_date": "birthday birthdate dateofbirth dob geburtstag geburtsdatum تاریخ_تولد ծննդյան_ամսաթիվ "
        "ծննդյան_օր дата_рождения день_рождения",
        "language": "language lang sprache زبان լեզու язык",
        "country": "country land nation staat کشور երկիր страна",
        "region": "region state province county bundesland استان منطقه մարզ регион область",
        "city": "city town ort stadt wohnort شهر քաղաք город",
        "industry": "industry sector branch businesssegment branche صنعت حوزه_فعالیت ոլորտ отрасль сфера",
        "title": "title dealname dealtitle opportunity opportunityname subject deal betreff titel "
        "auftrag عنوان معامله "
        "վերնագիր գործարք название сделка тема наименование",
        "stage": "stage dealstage salesstage status phase stufe verkaufsphase مرحله وضعیت փուլ "
        "կարգավիճակ этап стадия "
        "статус",
        "pipeline": "pipeline funnel salespipeline خط_فروش воронка",
        "amount": "amount value dealvalue closevalue total totalamount price revenue sum betrag wert summe umsatz "
        "preis gesamt مبلغ ارزش مبلغ_کل գումար արժեք сумма стоимость бюджет",
        "price": "price salesprice unitprice listprice preis einzelpreis قیمت گین գին цена",
        "opened_at": "opened openedat opendate engagedate created createdat createdate createddate date eröffnet "
        "eröffnetam angelegt datum تاریخ_شروع تاریخ_ایجاد تاریخ բացման_ամսաթիվ ամսաթիվ дата_открытия "
        "дата_создания дата",
        "closed_at": "closed closedat closedate closeddate wondate abschlussdatum geschlossen "
        "abgeschlossenam تاریخ_بستن "
        "تاریخ_پایان փակման_ամսաթիվ дата_закрытия закрыт",
        "expected_close_on": "expectedclose expectedclosedate forecastdate erwarteterabschluss پیش‌بینی_بستن "
        "ожидаемая_дата",
        "lost_reason": "lostreason lossreason reasonlost verlustgrund دلیل_از_دست_رفتن причина_отказа",
        "sold_at": "date saledate solddate orderdate orderedat invoicedate purchasedate datum kaufdatum "
        "rechnungsdatum "
        "bestelldatum تاریخ تاریخ_فروش تاریخ_خرید تاریخ_فاکتور ամսաթիվ վաճառքի_ամսաթիվ дата дата_продажи дата_заказа",
        "occurred_at": "date time datetime timestamp when datum zeit zeitpunkt تاریخ زمان ամսաթիվ дата время",
        "subject": "subject betreff topic موضوع թեմա тема",
        "body": "body text message note notes comment nachricht notiz notizen متن پیام یادداشت "
        "հաղորդագրություն նշում "
        "сообщение текст комментарий",
        "channel": "channel kanal medium کانال ալիք канал",
        "email": "email mail emailaddress ایمیل էլփոստ почта",
        "code": "code sku productcode artikelnummer artikelnr کد_کالا کد код артикул",
        "value": "value wert مقدار",
    }
)
FIRST: Final = _set("firstname givenname vorname نام نام_کوچک անուն имя")
LAST: Final = _set("lastname surname familyname nachname familienname نام_خانوادگی فامیل ազգանուն фамилия")
COMPANY: Final = _set(
    "company companyname organisation organization organisationname account accountname employer firma "
    "firmenname unternehmen شرکت نام_شرکت سازمان ընկերություն կազմակերպություն компания организация фирма"
)
CUSTOMER: Final = COMPANY | _set(
    "customer customerid customerno customernumber client clientid buyer contact kunde kundennr kundennummer "
    "مشتری کد_مشتری شماره_مشتری հաճախորդ գնորդ клиент покупатель"
)
OWNER: Final = _set(
    "owner ownername assignedto responsible salesrep salesperson salesagent accountmanager besitzer betreuer "
    "verantwortlich verantwortlicher zuständig مسئول کارشناس کارشناس_فروش پատասխանատու պատասխանատու "
    "ответственный менеджер author agent verkäufer user"
)
CURRENCY: Final = _set("currency currencycode währung waehrung ارز واحد_پول արժույթ валюта")
KEYS: Final = _listed("id no nr number nummer key code email شناسه شماره کد համար կոդ номер код ид идентификатор")
PHONE: Final = _listed(
    "phone mobile telefon handy tel fax تلفن موبایل شماره_تماس همراه հեռախոս բջջային телефон мобильный"
)
EMAIL: Final = _listed("email mail ایمیل رایانامه էլփոստ էլհասցե почта")
CHOICES: Final = _sets(
    {
        "organisation": "organisation organization company business firma unternehmen corporate org b2b "
        "o c شرکت سازمان "
        "حقوقی ընկերություն կազմակերպություն компания организация юрлицо",
        "person": "person individual private human privatperson privat people p b2c شخص فرد حقیقی անձ ֆիզիկական "
        "ֆիզանձ человек физлицо частное лицо",
        "customer": "customer client kunde مشتری հաճախորդ клиент",
        "supplier": "supplier vendor lieferant تامین‌کننده մատակարար поставщик",
        "partner": "partner شریک գործընկեր партнер партнёр",
        "contact": "contact kontakt مخاطب կոնտակտ контакт",
        "in": "in inbound incoming eingehend ورودی մուտքային входящий входящее",
        "out": "out outbound outgoing ausgehend خروجی ելքային исходящий исходящее",
        "internal": "internal intern داخلی ներքին внутренний",
        "message": "message email mail chat nachricht پیام հաղորդագրություն сообщение",
        "call": "call phonecall anruf telefonat تماس զանգ звонок",
        "meeting": "meeting besprechung termin جلسه հանդիպում встреча",
        "visit": "visit besuch بازدید այցելություն визит",
        "note": "note notiz یادداشت նշում заметка",
        "sale": "sale order verkauf فروش վաճառք продажа",
        "refund": "refund return erstattung gutschrift برگشت վերադարձ возврат",
    }
)
TRUE: Final = _set("yes true y ja wahr بله بلی آره այո да истина")
FALSE: Final = _set("no false n nein falsch خیر نه ոչ нет ложь")
STAGES: Final = _sets(
    {
        "0": "new lead open prospecting prospect neu offen جدید սկիզբ նոր новый новая",
        "1": "contacted engaging qualified qualification qualifiziert kontaktiert در_تماس واجدشرایط որակավորված "
        "квалификация контакт",
        "2": "proposal quote offer angebot presentation demo پیشنهاد առաջարկ предложение кп",
        "3": "negotiation negotiating contract verhandlung مذاکره բանակցություն переговоры договор",
        "won": "won closedwon win sold gewonnen abgeschlossen موفق برنده فروخته‌شده հաղթած շահած выигран выиграна "
        "успешно закрыто_успешно",
        "lost": "lost closedlost loss cancelled canceled verloren abgelehnt از_دست_رفته ناموفق باخته پարտված կորցրած "
        "պարտված проигран проиграна отказ закрыто_неуспешно",
    }
)
