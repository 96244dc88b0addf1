"""What columns are called that are no plain fields: nouns of records, names, companies, owners, numbers, phones."""

from __future__ import annotations

from typing import Final

NOUNS: Final[dict[str, str]] = {
    "customer": "customer, client, contact, lead, person, buyer, account, partner, "
    "Kunde, Kunden, Kontakt, Interessent, Debitor, Adressat, Geschäftspartner, "
    "client, contact, tiers, prospect, acheteur, cliente, contacto, comprador, tercero, "
    "клиент, клиента, контакт, контакта, лид, лида, покупатель, покупателя, контрагент, контрагента, заказчик, "
    "заказчика, مشتری, مخاطب, سرنخ, طرف حساب, خریدار, شخص, հաճախորդ, հաճախորդի, կոնտակտ, կոնտակտի, գնորդ, գնորդի",
    "deal": "deal, opportunity, potential, Auftrag, Auftrags, Geschäft, Geschäfts, Opportunity, Verkaufschance, "
    "Chance, Projekt, Projekts, Angebot, Angebots, affaire, opportunité, transaction, projet, "
    "oportunidad, negocio, trato, negociación, proyecto, "
    "сделка, сделки, сделке, проект, проекта, معامله, فرصت, فرصت فروش, پروژه, գործարք, գործարքի, նախագիծ, նախագծի",
    "sale": "sale, sales, order, invoice, purchase, payment, transaction, "
    "Verkauf, Verkaufs, Bestellung, Bestell, Rechnung, Rechnungs, Auftrag, Auftrags, Beleg, Kauf, Zahlung, Zahlungs, "
    "vente, commande, facture, achat, paiement, venta, pedido, factura, compra, pago, "
    "продажа, продажи, заказ, заказа, счёт, счёта, чек, чека, документ, документа, реализация, реализации, оплаты, "
    "فروش, سفارش, فاکتور, خرید, պատվեր, պատվերի, վաճառք, վաճառքի, հաշիվ, հաշվի",
    "product": "product, item, article, goods, material, service, Produkt, Artikel, Ware, Material, Leistung, "
    "produit, article, prestation, producto, artículo, товар, товара, продукт, продукта, номенклатура, номенклатуры, "
    "услуга, услуги, کالا, محصول, خدمت, ապրանք, ապրանքի, ապրանքատեսակ, պրոդուկտ",
    "user": "user, agent, employee, sales agent, sales rep, staff, Mitarbeiter, Benutzer, Verkäufer, Vertreter, "
    "utilisateur, employé, vendeur, usuario, empleado, vendedor, "
    "пользователь, пользователя, сотрудник, сотрудника, менеджер, менеджера, کاربر, کارمند, کارشناس, "
    "աշխատակից, աշխատակցի, օգտատեր",
    "team": "team, department, Abteilung, Gruppe, équipe, service, equipo, departamento, команда, отдел, تیم, واحد, "
    "թիմ, բաժին",
    "interaction": "interaction, activity, message, call, task, event, Aktivität, Nachricht, Anruf, Vorgang, "
    "Aufgabe, "
    "activité, appel, tâche, interacción, actividad, llamada, tarea, "
    "активность, активности, звонок, звонка, дело, дела, событие, события, задача, задачи, "
    "تعامل, فعالیت, تماس, հաղորդակցություն, զանգ, զանգի, ակտիվություն",
}
"""What the records of a type are called, in the forms in which they stand beside another noun."""
FIRST: Final = (
    "first name, given name, forename, Vorname, prénom, nombre, nombres, nombre de pila, имя, نام, نام کوچک, անուն"
)
MIDDLE: Final = (
    "middle name, second name, patronymic, zweiter Vorname, deuxième prénom, segundo nombre, отчество, հայրանուն"
)
LAST: Final = (
    "last name, surname, family name, Nachname, Familienname, Zuname, nom, nom de famille, nom patronymique, "
    "apellido, "
    "apellidos, primer apellido, фамилия, نام خانوادگی, فامیل, فامیلی, ազգանուն"
)
COMPANY: Final = (
    "company, company name, organisation, organization, organisation name, organization name, account, account name, "
    "employer, compte, nom du compte, cuenta, nombre de la cuenta, business name, legal name, billing company, "
    "company title, associated company, associated companies, "
    "Firma, Firmenname, "
    "Unternehmen, zugeordnetes Unternehmen, Unternehmensname, Arbeitgeber, Gesellschaft, Firmenbezeichnung, "
    "entreprise, entreprise associée, société, organisation, raison sociale, nom de l'entreprise, "
    "nom de la société, employeur, "
    "empresa, empresa asociada, compañía, sociedad, organización, razón social, nombre de la empresa, "
    "компания, название компании, наименование компании, организация, название организации, "
    "наименование организации, "
    "фирма, работодатель, предприятие, "
    "شرکت, نام شرکت, سازمان, نام سازمان, محل کار, ընկերություն, ընկերության անվանում, ընկերության անունը, "
    "կազմակերպություն, կազմակերպության անվանում, գործատու"
)
CUSTOMER: Final = (
    "customer, partner, partner id, customer id, customer no, customer number, customer name, customer code, client, "
    "client id, client name, "
    "buyer, buyer name, party, party name, sold to party, "
    "contact, contact name, primary contact, contact person, person, person name, sold to, "
    "bill to, payer, payee, counterparty, "
    "ship to name, billing name, account id, associated contact, "
    "payer/recipient, վճարող, ստացող, վճարող/ստացող, փոխանցող, շահառու, плательщик/получатель, "
    "Kunde, Kundennr, Kundennummer, Kundenname, Name 1, Ansprechpartner, Kontakt, Kontaktperson, Debitor, "
    "Debitorennummer, "
    "Auftraggeber, Besteller, Käufer, Rechnungsempfänger, Beguenstigter/Zahlungspflichtiger, "
    "Begünstigter/Zahlungspflichtiger, Zahlungspflichtiger, Auftraggeber/Empfänger, Name Zahlungsbeteiligter, "
    "client, nom du client, code client, numéro client, acheteur, contact, tiers, cliente, nombre del cliente, "
    "código de cliente, comprador, contacto, "
    "клиент, имя клиента, название клиента, наименование клиента, код клиента, покупатель, контакт, "
    "основной контакт, "
    "контрагент, заказчик, контактное лицо, ФИО клиента, ФИО, "
    "مشتری, نام مشتری, کد مشتری, شماره مشتری, خریدار, مخاطب, طرف حساب, نام خریدار, "
    "հաճախորդ, հաճախորդի անուն, հաճախորդի կոդ, գնորդ, գնորդի անուն, կոնտակտ, պատվիրատու"
)
OWNER: Final = (
    "owner, user id, owner name, assigned to, assigned user, responsible, responsible user, sales rep, salesperson, "
    "sales agent, "
    "account manager, account owner, contact owner, deal owner, opportunity owner, lead owner, record owner, rep, "
    "author, agent, user, created by, employee, "
    "Besitzer, Betreuer, Kundenbetreuer, Verantwortlich, Verantwortlicher, zuständig, Zuständiger, Verkäufer, "
    "Sachbearbeiter, Bearbeiter, Vertriebsmitarbeiter, Außendienst, Mitarbeiter, Vertreter, Inhaber, "
    "responsable, propriétaire, commercial, commerciale, vendeur, attribué à, chargé d'affaires, gestionnaire, "
    "propietario, responsable, vendedor, comercial, agente, asignado a, ejecutivo, asesor, "
    "ответственный, ответственный менеджер, ответственный за сделку, ответственный за контакт, менеджер, продавец, "
    "сотрудник, куратор, автор, исполнитель, "
    "مسئول, مسئول فروش, کارشناس, کارشناس فروش, فروشنده, مالک, نماینده, نویسنده, "
    "պատասխանատու, մենեջեր, վաճառող, աշխատակից, հեղինակ"
)
CURRENCY: Final = (
    "currency, currency code, currency of value, amount currency, currency iso code, order currency, "
    "presentment currency, Währg, Waehrg, Währung, Waehrung, Währungscode, Auftragswährung, devise, monnaie, "
    "moneda, divisa, "
    "валюта, валюта сделки, ارز, واحد پول, واحد پولی, արժույթ, տարադրամ"
)
KEYS: Final = (
    "id, no, nr, number, nummer, key, code, email, uuid, guid, numéro, identifiant, n°, №, número, identificador, "
    "clave, "
    "código, شناسه, شماره, کد, ردیف, համար, կոդ, номер, код, ид, идентификатор, № п/п"
)
ROW_NUMBERS: Final = (
    "row, row number, line, line no, lfd. nr., lfd nr, laufende Nummer, Pos, Pos., ligne, fila, línea, № п/п, "
    "п/п, номер строки, ردیف, հ/հ, հերթական համար"
)
"""What a column is called that only counts the rows."""
PHONE: Final = (
    "phone, mobile, cell, telefon, handy, tel, fax, whatsapp, viber, téléphone, portable, teléfono, móvil, celular, "
    "تلفن, موبایل, شماره تماس, همراه, فکس, نمابر, հեռախոս, հեռ, բջջային, ֆաքս, телефон, тел, мобильный, факс, "
    "сотовый, "
    "Mobil, Rufnummer"
)
EMAIL: Final = "email, mail, courriel, correo electrónico, ایمیل, رایانامه, էլփոստ, էլհասցե, почта"
CODES: Final = (
    "zip, zip code, postal code, postcode, post code, billing zip, shipping zip, tax id, tax number, tin, vat, "
    "vat id, "
    "vat number, vat no, ein, ssn, iban, bic, swift, account number, account no, bank account, card number, "
    "passport, "
    "passport number, registration number, company number, barcode, ean, gtin, upc, isbn, sku, item number, "
    "part number, "
    "serial number, tracking number, national id, sic code, duns, "
    "PLZ, Postleitzahl, Steuernummer, Steuernr, USt-Id, USt-IdNr, UID, Kontonummer, Konto, Bankleitzahl, BLZ, "
    "Handelsregisternummer, "
    "HRB, Artikelnummer, Seriennummer, Vorwahl, Debitorennummer, Kundennummer, Kundennr, "
    "code postal, CP, SIRET, SIREN, numéro de TVA, TVA intracommunautaire, NAF, APE, numéro de compte, RIB, "
    "code client, "
    "código postal, NIF, CIF, DNI, NIE, RFC, RUC, RUT, CUIT, número de cuenta, "
    "ИНН, КПП, ОГРН, ОГРНИП, ОКПО, ОКВЭД, БИК, СНИЛС, индекс, почтовый индекс, расчётный счёт, р/с, р/счёт, к/с, "
    "корр. счёт, корреспондентский счёт, лицевой счёт, номер счёта, номер карты, дисконтная карта, паспорт, "
    "номер паспорта, "
    "серия паспорта, артикул, штрихкод, код, номер договора, УНП, БИН, ИИН, ЕДРПОУ, код клиента, ИНН/КПП, "
    "کد پستی, کدپستی, کد ملی, شناسه ملی, کد اقتصادی, شماره اقتصادی, شماره ثبت, شماره حساب, شماره کارت, شماره شبا, "
    "شبا, کد, "
    "بارکد, شماره شناسنامه, کد مشتری, "
    "ՀՎՀՀ, փոստային ինդեքս, ինդեքս, հաշվեհամար, բանկային հաշիվ, անձնագիր, ՀԾՀ, կոդ, շտրիխ կոդ, հաշվի համար"
)
"""Numbers nobody calculates with: they stay text, whatever their digits."""
BUYER: Final = (
    "customer, customer name, client, client name, buyer, buyer name, party name, Kunde, Kundenname, Käufer, "
    "Auftraggeber, "
    "Besteller, "
    "nom du client, acheteur, cliente, nombre del cliente, comprador, клиент, покупатель, контрагент, заказчик, "
    "مشتری, "
    "نام مشتری, خریدار, طرف حساب, հաճախորդ, գնորդ, պատվիրատու"
)
"""Who buys, whatever organisation or contact is named beside: in 1C the organisation of a document is one's own."""
TIME: Final = (
    "time, start time, call time, Zeit, Uhrzeit, Beginn, heure, hora, время, время звонка, ساعت, زمان, ժամ, ժամանակ"
)
"""The time of the day, beside a column of days."""
PARENT: Final = (
    "parent, parent account, parent company, parent organization, parent customer, holding, Muttergesellschaft, "
    "Mutterfirma, übergeordnete Firma, société mère, compte parent, empresa matriz, cuenta principal, "
    "материнская компания, головная организация, головной контрагент, شرکت مادر, մայր ընկերություն"
)
"""The company that another one belongs to."""
WON_ON: Final = "won time, won date, won at, won on, date won, closed won date, gewonnen am"
LOST_ON: Final = "lost time, lost date, lost at, lost on, date lost, closed lost date, verloren am"
"""When a deal was won or lost, where these are two columns."""
IS_COMPANY: Final = (
    "is company, is a company, is organisation, is organization, is business, ist Firma, ist ein Unternehmen, "
    "est une société, es una empresa, это компания, юрлицо, является компанией, شرکت است, ընկերություն է"
)
"""Whether a customer is an organisation."""
IS_WON: Final = "is won, won, is closed won, closed won, gewonnen, ist gewonnen"
IS_CLOSED: Final = "is closed, closed, geschlossen, ist geschlossen"
"""Whether a deal is won, or is over, beside its stage."""
VOIDED_ON: Final = (
    "voided at, voided on, cancelled at, canceled at, cancelled on, canceled on, cancelled date, cancellation date, "
    "storniert am, Stornodatum, annulé le, date d'annulation, cancelado el, fecha de cancelación, дата отмены, "
    "تاریخ لغو, չեղարկման ամսաթիվ"
)
STATUS: Final = (
    "status, state, Zustand, Bestellstatus, Auftragsstatus, statut, état, estado, статус, состояние, وضعیت, կարգավիճակ"
)
"""What an order has that is paid or cancelled."""
BILLING: Final = (
    "billing, bill, invoice, customer, client, buyer, purchaser, Rechnung, Rechnungsadresse, Rechnungsempfänger, "
    "Kunde, Kunden, Käufer, Besteller, facturation, acheteur, facturación, cliente, comprador, плательщик, покупатель, "
    "покупателя, клиента, заказчика, خریدار, مشتری, գնորդի, հաճախորդի"
)
"""Words by which a heading says that it is of whoever pays for an order, not of whoever gets it."""
ACCOUNTS: Final = (
    "iban, bic, swift, konto, kontonummer, kontonr, bankkonto, blz, bankleitzahl, auftragskonto, card, karte, compte, "
    "rib, cuenta, tarjeta, clabe, счет, счёт, расчетный, бик, карта, حساب, شبا, کارت, հաշվեհամար, քարտ"
)
"""Words of bank accounts and cards: several payments have the same one."""
REMARKS: Final = (
    "purpose, payment purpose, purpose of payment, payment details, payment description, transaction description, "
    "narrative, memo, particulars, reference text, remittance information, "
    "Verwendungszweck, Buchungstext, Vorgang/Verwendungszweck, Zahlungsgrund, libellé, motif, motif du paiement, "
    "libellé de l'opération, concepto, descripción, detalle, назначение, назначение платежа, основание, "
    "описание операции, شرح تراکنش, شرح سند, بابت, նպատակ, վճարման նպատակ, գործարքի նկարագրություն"
)
"""Texts that say what something was for: two may always be the same, however different those of one file are."""
POSTAL: Final = "zip, plz, postleitzahl, postcode, postal, индекс, پستی, փոստային"
"""Words of postal codes, by which nobody is told apart."""
OPT_OUT: Final = (
    "email opt out, has opted out of email, opt out, opted out, do not email, unsubscribed, "
    "unsubscribed from all email, abgemeldet, keine E-Mails, désabonné, no enviar correo, отписан, отписался"
)
ADDRESS: Final = (
    "street, house, address, Straße, Strasse, Str, Haus, Hausnummer, Adresse, rue, adresse, calle, dirección, "
    "улица, дом, "
    "квартира, адрес, خیابان, پلاک, آدرس, փողոց, տուն, հասցե"
)
"""Words beside which a number is that of a house."""
QUALIFIERS: Final = "billing, mailing, default, address, primary, main, Rechnungsadresse, Adresse, adresse, "
"dirección, адрес"
"""Which of several addresses a column is part of."""
