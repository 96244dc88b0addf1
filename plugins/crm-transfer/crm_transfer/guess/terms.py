"""What cells say, in the languages of the headers: choices, yes and no, stages, words for nothing, totals, units."""

from __future__ import annotations

from typing import Final

CHOICES: Final[dict[str, str]] = {
    "organisation": "organisation, organization, company, business, firm, corporate, corporation, org, b2b, o, c, "
    "legal entity, Firma, Unternehmen, Geschäftskunde, gewerblich, juristische Person, entreprise, société, "
    "professionnel, personne morale, empresa, sociedad, compañía, persona jurídica, компания, организация, юрлицо, "
    "юр. лицо, юридическое лицо, ЮЛ, фирма, ООО, АО, ИП, شرکت, سازمان, حقوقی, ընկերություն, կազմակերպություն, "
    "իրավաբանական անձ, իրավաբանական",
    "person": "person, individual, private, human, private person, people, consumer, p, b2c, privat, Privatperson, "
    "Privatkunde, natürliche Person, particulier, personne, personne physique, particular, persona, persona física, "
    "persona natural, человек, физлицо, физ. лицо, физическое лицо, ФЛ, частное лицо, شخص, فرد, حقیقی, անձ, "
    "ֆիզիկական, "
    "ֆիզանձ, ֆիզիկական անձ, անհատ",
    "customer": "customer, client, buyer, Kunde, Debitor, client, cliente, comprador, клиент, покупатель, заказчик, "
    "مشتری, خریدار, հաճախորդ, գնորդ",
    "supplier": "supplier, vendor, Lieferant, Kreditor, fournisseur, proveedor, поставщик, تامین‌کننده, تأمین کننده, "
    "فروشنده, մատակարար",
    "partner": "partner, Geschäftspartner, partenaire, socio, партнёр, شریک, همکار, գործընկեր",
    "contact": "contact, lead, prospect, Kontakt, Interessent, contacto, контакт, лид, مخاطب, سرنخ, կոնտակտ",
    "in": "in, inbound, incoming, received, eingehend, Eingang, entrant, reçu, entrante, recibido, recibida, "
    "входящий, "
    "входящее, входящая, ورودی, دریافتی, մուտքային",
    "out": "out, outbound, outgoing, sent, ausgehend, Ausgang, sortant, envoyé, saliente, enviado, enviada, "
    "исходящий, "
    "исходящее, исходящая, خروجی, ارسالی, ելքային",
    "internal": "internal, intern, interne, interno, внутренний, внутренняя, داخلی, ներքին",
    "message": "message, email, mail, chat, sms, whatsapp, Nachricht, E-Mail, courriel, mensaje, correo, сообщение, "
    "письмо, чат, پیام, ایمیل, پیامک, հաղորդագրություն, նամակ",
    "call": "call, phone call, phone, Anruf, Telefonat, Telefon, appel, appel téléphonique, llamada, звонок, تماس, "
    "تماس تلفنی, زنگ, զանգ",
    "meeting": "meeting, appointment, Besprechung, Termin, Treffen, réunion, rendez-vous, rdv, reunión, cita, "
    "встреча, "
    "جلسه, ملاقات, հանդիպում",
    "visit": "visit, Besuch, visite, visita, визит, بازدید, այցելություն",
    "note": "note, Notiz, Vermerk, nota, заметка, примечание, комментарий, یادداشت, նշում",
    "sale": "sale, order, invoice, Verkauf, Rechnung, vente, commande, facture, venta, pedido, factura, продажа, "
    "реализация, заказ, فروش, فاکتور, վաճառք",
    "refund": "refund, return, credit note, credit memo, Erstattung, Gutschrift, Retoure, Storno, remboursement, "
    "avoir, "
    "retour, reembolso, devolución, abono, nota de crédito, возврат, برگشت, مرجوعی, برگشت از فروش, վերադարձ",
}
TRUE: Final = "yes, true, y, ja, wahr, oui, vrai, sí, si, verdadero, да, истина, بله, بلی, آره, այո"
FALSE: Final = "no, false, n, nein, falsch, non, faux, falso, нет, ложь, خیر, نه, ոչ"

OPEN_STAGES: Final[dict[str, str]] = {
    "0": "new, lead*, нов*, nuev*, nouv*, neu*, lead, open, prospect, prospecting, incoming, unsorted, backlog, "
    "first contact, neu, offen, Eingang, "
    "Anfrage, Erstkontakt, Interessent, nouveau, nouvelle, ouvert, ouverte, à contacter, nuevo, nueva, abierto, "
    "abierta, "
    "entrante, новый, новая, новое, новые, неразобранное, заявка, обращение, входящие, первичный контакт, جدید, "
    "سرنخ, "
    "باز, ورودی, آغاز, նոր, բաց, հայտ",
    "1": "contact*, engag*, qualif*, kontakt*, квалиф*, контакт*, calific*, cualific*, որակավոր*, contacted, "
    "contact, engaging, engaged, qualified, qualification, qualifying, discovery, needs analysis, "
    "in progress, appointment scheduled, interested, qualifiziert, Qualifizierung, kontaktiert, Kontakt, "
    "Bedarfsanalyse, in Bearbeitung, Termin, contacté, qualifié, qualification, prise de contact, en cours, "
    "contactado, "
    "calificado, calificación, cualificado, en proceso, en curso, квалификация, контакт, в работе, подготовка, "
    "переговоры назначены, установлен контакт, выявление потребностей, در تماس, واجد شرایط, بررسی, تماس, "
    "در حال انجام, "
    "ارزیابی, որակավորված, կապ, ընթացքում, որակավորում",
    "2": "propos*, quot*, angebot*, offer*, präsent*, presentac*, présent*, cotiz*, propuest*, предлож*, презент*, "
    "առաջարկ*, proposal, quote, quotation, offer, presentation, demo, proposal sent, value proposition, Angebot, "
    "Präsentation, Angebot gesendet, Vorschlag, proposition, devis, offre, présentation, propuesta, presupuesto, "
    "oferta, "
    "cotización, presentación, предложение, КП, коммерческое предложение, презентация, демо, پیشنهاد, پیش فاکتور, "
    "پیش‌فاکتور, ارائه, դեմո, առաջարկ, ներկայացում",
    "3": "negotiat*, verhandl*, négoci*, negoci*, переговор*, договор*, согласован*, contract*, vertrag*, contrat*, "
    "բանակց*, պայմանագ*, negotiation, negotiating, negotiation/review, review, contract, contract sent, decision, "
    "decision makers, "
    "legal, invoice, payment, Verhandlung, Vertrag, Entscheidung, Vertragsprüfung, négociation, contrat, décision, "
    "négociations, negociación, contrato, decisión, переговоры, договор, согласование, согласование договора, "
    "принимают решение, счёт, счёт на предоплату, ожидание оплаты, مذاکره, قرارداد, تصمیم, انعقاد قرارداد, "
    "բանակցություն, պայմանագիր, որոշում, բանակցություններ",
}
WON_STAGES: Final = (
    "won*, win, sold, success*, gewonn*, verkauft, erfolgreich*, gagn*, vendu*, conclu*, réussi*, signé*, ganad*, "
    "vendid*, exitos*, firmad*, выигр*, успеш*, успех*, реализован*, продан*, оплачен*, заключен*, موفق, موفقیت, "
    "برنده, برد, فروخته, فروش رفته, հաղթ*, շահ*, հաջող*, վաճառվ*"
)
"""A star stands for any end of the word."""
LOST_STAGES: Final = (
    "lost, loss, lose, losing, cancel*, declined, reject*, refused, dead, junk, disqualif*, unqualif*, unsuccess*, "
    "abandon*, dropped, verlor*, verlust, abgelehnt*, abgesagt*, absage*, storn*, gescheitert*, unqualifiziert, "
    "erfolglos*, perdu*, perte, refus*, rejet*, annul*, échou*, échec, sans suite, perdid*, pérdida, cancelad*, "
    "rechazad*, descartad*, anulad*, fracas*, проигр*, провал*, отказ*, отмен*, отклон*, потер*, утер*, неуспеш*, "
    "неудач*, нереализован*, сорв*, спам, ناموفق, شکست*, لغو, رد, باخته, باخت, منتفی, مردود, از دست رفته, "
    "ازدست رفته, "
    "پرداخت نشده, պարտ*, կորց*, կորս*, կորած, մերժ*, չեղարկ*, չեղյալ, ձախող*, անհաջող*"
)
CLOSED_STAGES: Final = (
    "closed, close, completed, complete, done, finished, archived, geschlossen, abgeschlossen, erledigt, beendet, "
    "fermé*, clôtur*, clos, terminé*, cerrad*, terminad*, finalizad*, completad*, закрыт*, завершен*, заверш*, بسته, "
    "خاتمه, پایان, تکمیل, փակ*, ավարտ*"
)
"""Words that say that a deal is over, and not how."""
VOID_ORDERS: Final = (
    "cancel*, void*, fail*, abandon*, denied, declin*, reject*, refused, refund*, returned, chargeback, charged back, "
    "storn*, abgebroch*, abgelehnt*, fehlgeschlag*, erstatt*, rückerstatt*, retour*, annul*, rembours*, échou*, "
    "refus*, anulad*, rechazad*, fallid*, reembols*, devuelt*, отмен*, аннулир*, отказ*, отклон*, возвра*, неуспеш*, "
    "ошибк*, "
    "لغو, مسترد, مرجوع, مرجوعی, ناموفق, չեղարկ*, չեղյալ, մերժ*, վերադարձ*"
)
"""What an order says that never was, or was given back as a whole."""
NOT_DONE: Final = "не удался, не удалась, не удалось, не состоялся, не состоялась, не состоялось, انجام نشد, موفق نبود"
"""What says the same by a negation."""
PARTS: Final = "partial*, partly, part, teilweise, teil*, partiel*, parcial*, частичн*, بخشی, جزئی, մասնակի"
NEGATIONS: Final = (
    "not, no, never, without, nicht, kein, keine, ohne, nie, non, pas, sans, jamais, sin, nunca, не, нет, без, "
    "نشده, نشد, نا, عدم, غیر, بدون, نیست, ոչ, չի, չէ, առանց"
)
GOOD_WORDS: Final = "interest*, qualif*, interess*, intéress*, заинтерес*, интерес*, актуал*, целев*, علاقه*, "
"հետաքրքր*"
"""Words that, with a negation, say that a deal is lost: "not interested"."""

NOTHING: Final = (
    "-none-|--none--|(none)|(not set)|not set|"
    "-|--|---|–|—|−|?|??|???|.|..|...|*|/|n/a|na|n.a.|n. a.|#n/a|#nv|#n/d|#н/д|none|null|nil|nan|unknown|(blank)|"
    "(empty)|empty|"
    "not available|not specified|tbd|tba|no data|k.a.|k. a.|k/a|keine angabe|keine|kein|unbekannt|entfällt|leer|ohne|"
    "nein|no|non|aucun|aucune|néant|inconnu|inconnue|non renseigné|non communiqué|nc|n.c.|n/c|s.o.|s. o.|sans objet|"
    "so|nd|n.d.|n/d|ninguno|"
    "ninguna|desconocido|sin datos|no disponible|no consta|s/d|нет|нет данных|н/д|н.д.|н/п|б/н|отсутствует|"
    "не указано|"
    "не указан|не указана|не задано|неизвестно|пусто|не заполнено|ندارد|نامشخص|نامعلوم|ثبت نشده|خالی|هیچ|نیست|خیر|"
    "չկա|անհայտ|տվյալ չկա|նշված չէ|չի նշված|ոչ"
)
"""What people write into a cell of numbers, dates or addresses where nothing is known."""
NOTHING_IN_TEXTS: Final = (
    "-|--|---|–|—|−|?|??|???|-none-|--none--|(none)|(not set)|not set|"
    "s.o.|n/a|n.a.|n. a.|#n/a|#nv|#n/d|#н/д|null|(blank)|(empty)|not available|not specified|k.a.|"
    "k. a.|k/a|"
    "keine angabe|non renseigné|non communiqué|n.c.|n/c|sin datos|no disponible|no consta|s/d|нет данных|н/д|н.д.|"
    "не указано|не указан|не указана|не задано|не заполнено|ثبت نشده|نامشخص|տվյալ չկա|նշված չէ|չի նշված"
)
"""Those of them that are nothing in a text, too: "no" and "none" may be somebody's answer."""
NO_DATES: Final = (
    "0|0.0.00|0/0/00|0-0-00|0.0.0000|0/0/0000|"
    "0000-00-00|0000-00-00 00:00:00|00.00.0000|00/00/0000|00-00-0000|00.00.0000 00:00:00|0000/00/00"
)
"""What programs write where there is no date."""
TOTALS: Final = (
    "total, totals, grand total, sum, subtotal, sub total, sub-total, overall total, total amount, "
    "gesamt, summe, gesamtsumme, insgesamt, zwischensumme, teilsumme, endsumme, summen, gesamtergebnis, "
    "total général, totaux, sous-total, sous total, suma, total general, subtotales, totales, "
    "итого, всего, общий итог, итог, подытог, промежуточный итог, итого всего, "
    "totale, totale complessivo, subtotale, eindtotaal, totaal, total geral, soma, suma końcowa, razem, celkem, "
    "celkový součet, összesen, végösszeg, toplam, genel toplam, ara toplam, الإجمالي, الاجمالي, المجموع, "
    "المجموع الكلي, الإجمالي الكلي, "
    "جمع, جمع کل, مجموع, مجموع کل, جمع جزء, جمع نهایی, ընդամենը, ընդհանուր, հանրագումար"
)
"""What a row of a sheet says that sums up others."""
UNITS: Final = (
    "eur, euro, euros, usd, dollar, dollars, chf, gbp, rub, rur, руб, рублей, рубли, р, тыс, amd, դրամ, irr, ریال, "
    "تومان, "
    "uah, грн, kzt, тг, тенге, uzs, try, tl, pln, czk, inr, cad, aud, jpy, utc, gmt, msk, мск"
)
"""What stands behind the name of a column and is none of it."""
JOINING: Final = (
    "of the a an de du des del la le les l d el los las et y und der die das des für am at to и в на по از و به"
)
"""What only joins the words of a name."""

FEES: Final = (
    "post, postage, dot, dotcom postage, m, manual, b, s, samples, c2, carriage, bank charges, charges, fee, fees, "
    "amazonfee, amazon fee, commission, shipping, delivery, freight, handling, insurance, packing, tip, adjust, "
    "adjustment, adjust2, rounding, service charge, "
    "Porto, Versand, Versandkosten, Gebühr, Gebühren, Fracht, Verpackung, Rundung, frais, frais de port, port, "
    "livraison, envío, gastos de envío, portes, comisión, доставка, почта, комиссия, упаковка, услуги доставки, "
    "ارسال, هزینه ارسال, کارمزد, بسته بندی, առաքում, փոստ, միջնորդավճար"
)
"""What stands among the codes of products and is none: postage, fees, corrections made by hand."""
DISCOUNTS: Final = (
    "d, disc, discount, rebate, promo, coupon, Rabatt, Skonto, Nachlass, remise, rabais, descuento, скидка, تخفیف, զեղչ"
)
VOUCHERS: Final = (
    "gift, gift voucher, gift card, voucher, Gutschein, Geschenkkarte, bon d'achat, carte cadeau, tarjeta regalo, "
    "сертификат, подарочный сертификат, کارت هدیه, նվեր քարտ"
)
