"""Drafts what order lines make: customers, products, one sale of each invoice with its lines, refunds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from crm_core import CRM
from crm_core.values import exponent
from crm_transfer.guess.buyers import buyers
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.dates import forms_of
from crm_transfer.guess.drafting import Draft, Sheet
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.lines import NEARLY, OrderLines, Returned, grouped, odd_cells, steadiness, totals
from crm_transfer.guess.links import references
from crm_transfer.guess.money import bare_number, currency_of, declare_numbers
from crm_transfer.guess.ownfields import currency_used, own_field
from crm_transfer.guess.records import by_same_name, by_similar_name, day_of_sale, required
from crm_transfer.guess.toml import column_of, source, texts
from crm_transfer.guess.voids import void_lines, voided, voids
from crm_transfer.guess.words import DISCOUNTS, FEES, VOUCHERS, called, fold, plain
from crm_transfer.toml import quoted

_OF_CUSTOMERS: Final = ("country", "region", "city", "industry", "language")
_NAMED: Final = 20
"""How many invoices are listed by their numbers."""
_SHOWN: Final = 3


def draft_orders(crm: CRM, lines: OrderLines, columns: Sequence[Seen], system: str) -> Draft:
    """Draft the records of a file whose rows are the lines of invoices.

    Without record types for products and their lines (crm-products is not there) the sales alone are made.
    """
    return _Orders(crm, lines, columns, system).draft()


class _Orders:
    """The draft of one file; the steps of `draft` follow each other."""

    def __init__(self, crm: CRM, lines: OrderLines, columns: Sequence[Seen], system: str) -> None:
        """Begin with all columns at the sale."""
        self.lines, self.columns = lines, columns
        self.types = crm.registry.types
        self.has_lines = {"product", "sale_line"} <= self.types.keys()
        adapted = [self._adapted(seen) for seen in columns]
        self.sale = Sheet(crm, self.types["sale"], adapted, lines.key, system, lines.rows)
        self.sale.grouped = True
        self.sale.main.head.append('per = "group"')
        self.policies: dict[str, str] = {}

    def draft(self) -> Draft:
        """Return what the columns come to."""
        sale, lines = self.sale, self.lines
        self._file()
        self._amounts()
        self.of_buyer = buyers(sale)
        varying = self._set_apart()
        for name, when, told in void_lines(sale, varying):
            self._rule(name, when, told)
        totals(sale, lines)
        references(sale)
        varying = self._customers(varying)
        if self.has_lines:
            self._products(varying)
        else:
            self._without_lines(varying)
        by_same_name(sale)
        day_of_sale(sale, lines.date)
        by_similar_name(sale)
        voids(sale)
        required(sale)
        currency_used(sale)
        self._reduced()
        for seen in list(sale.left):
            own_field(sale, seen)
        self._match()
        self._group()
        self._checks()
        odd_cells(sale, lines)
        out = sale.out
        out.blocks = [*sale.before, sale.main, *sale.after]
        order = {seen.name: at for at, seen in enumerate(self.columns)}
        out.guesses.sort(key=lambda guess: order[guess.column])
        if not lines.is_named:
            out.questions.insert(0, f"rows are brought together by {quoted(lines.invoice.name)}, one sale of each")
        return out

    # What computed columns and groups read, the whole file declares

    def _adapted(self, seen: Seen) -> Seen:
        """Let a column of ISO dates say so, where the file declares another form."""
        date = self.lines.date
        if seen.kind == "date" and not seen.format and date is not None and date.format:
            forms = forms_of(seen.distinct)
            return attrs.evolve(seen, forms=forms) if forms else attrs.evolve(seen, kind="text")
        return seen

    def _file(self) -> None:
        date = self.lines.date
        declare_numbers(self.sale, self.lines.amounts)
        if date is not None and date.format:
            self.sale.out.file["dates"] = f"{quoted(date.format)}  # as {date.name} has them"

    # Amounts

    def _amounts(self) -> None:
        sale, lines = self.sale, self.lines
        quantity, price = lines.amounts.quantity, lines.amounts.price
        self.currency, code = currency_of(sale, price) or (
            quoted(sale.crm.settings.currency),
            sale.crm.settings.currency,
        )
        self.returned = lines.returned(exponent(code))
        self.quantity, self.price = (bare_number(sale, quantity, "quantity"), bare_number(sale, price, "unit price"))
        self.kind = ""
        if self.returned:
            self._refunds(self.returned)
            is_refund = f'{{ column = {quoted(self.kind)}, is = "refund" }}'
            sign = sale.compute("sign", f"{{ choose = [{{ when = {is_refund}, then = -1 }}], else = 1 }}")
            self.quantity = self.sale.compute("signed quantity", f"{{ multiply = {texts([self.quantity, sign])} }}")
        product = f"{{ multiply = {texts([self.quantity, self.price])} }}"
        self.amount = self.sale.compute("amount", f"{{ round = {product}, digits = {exponent(code)} }}")
        self.policies[self.amount] = '"sum"'
        why = f"{quantity.name} x {price.name}, summed by {lines.invoice.name}"
        sale.put("amount", source(self.amount, currency=self.currency), f"high: {why}")
        sale.done(self._mine(price), "sale.amount", "high", why)
        for seen in sale.left:
            if called(seen.name, "amount", "sale") is not None and (other := lines.unlike(seen)):
                sale.ask(seen, f"it is not {quantity.name} x {price.name} in {_rows(other)}; which are the amounts?")
        if free := lines.free():
            self._rule("no price", f"{{ column = {quoted(self.price)}, equals = 0 }}", _rows(free))
            sale.out.questions.append(f"{_rows(free)} with the price 0 left out: no amount comes of them")

    def _refunds(self, found: Returned) -> None:
        """Say which invoices are refunds, whose quantities and amounts are turned."""
        invoice = quoted(self.lines.invoice.name)
        chosen = []
        for kind, odd, what in (("sale", found.sales, "not less"), ("refund", found.refunds, "less")):
            if odd:
                is_them = f"{{ column = {invoice}, is = {texts(odd[:_NAMED])} }}"
                chosen.append(f'{{ when = {is_them}, then = {{ const = "{kind}" }} }}')
                more = f"; {len(odd) - _NAMED:,} of them are too many to name, and will be rejected"
                self.sale.out.questions.append(
                    f"invoices that come to {what} than zero, which nothing else says of them, are taken for {kind}s: "
                    f"{', '.join(odd[:_NAMED])}{more if len(odd) > _NAMED else ''}"
                )
        pattern = ""
        if found.prefix:
            pattern = f"{{ column = {invoice}, like = {quoted(found.prefix + '*')} }}"
            told = f"invoices that begin with {quoted(found.prefix)} have quantities below zero: taken for refunds"
            self.sale.out.questions.append(told)
        elif found.by_quantity:
            pattern = f"{{ column = {quoted(self.quantity)}, below = 0 }}"
            told = f"invoices with a {self.lines.amounts.quantity.name} below zero are taken for refunds"
            self.sale.out.questions.append(told)
        if pattern:
            chosen.append(f'{{ when = {pattern}, then = {{ const = "refund" }} }}')
        self.kind = self.sale.compute("kind", f'{{ choose = [{", ".join(chosen)}], else = {{ const = "sale" }} }}')
        self.sale.put("kind", quoted(self.kind), "high: refunds by their number" if found.prefix else "medium: by sums")

    def _rule(self, name: str, when: str, seen: str) -> None:
        self.sale.out.tables += ["[[rule]]", f"name = {quoted(name)}", f"when = {when}", f"skip = true  # {seen}", ""]

    # Which record a column says something of

    def _mine(self, seen: Seen) -> Seen:
        return next(one for one in self.sale.left if one.name == seen.name)

    def _set_apart(self) -> list[Seen]:
        """Leave to the sale what nearly all invoices have once; return the other columns."""
        lines, sale = self.lines, self.sale
        mine = {one.name for one in (lines.invoice, lines.date, lines.customer) if one is not None}
        of_lines = {one.name for one in (lines.amounts.quantity, lines.code, lines.name) if one is not None}
        varying = [
            seen
            for seen in sale.left
            if seen.name not in mine and (seen.name in of_lines or lines.constant(seen) < NEARLY)
        ]
        sale.left = [seen for seen in sale.left if seen not in varying]
        return varying

    def _reduced(self) -> None:
        """Say which value counts where the rows of an invoice differ."""
        lines, sale = self.lines, self.sale
        if lines.date is not None:
            self.policies[lines.date.name] = '"least"  # typed in over some time: it counts from the first'
        for seen in self.columns:
            if lines.is_leading(seen) and seen.name not in self.policies:
                self.policies[seen.name] = '"first"  # it stands in the first row of an invoice'
        self.policies = {**dict.fromkeys(self.of_buyer, '"first"'), **self.policies}
        for seen in sale.left:
            if seen.values and seen.name != lines.invoice.name and lines.constant(seen) < 1:
                self.policies[seen.name] = '"most"  # medium: not all rows of an invoice say the same'
        if lines.customer is not None and (part := lines.constant(lines.customer)) < 1:
            count = round((1 - part) * len(lines.groups))
            sale.ask(lines.customer, f"{count:,} invoices have several, and will be rejected")

    def _customers(self, varying: list[Seen]) -> list[Seen]:
        """Let the customers that the import makes have their country and the like; return the columns left."""
        block = next((block for block in self.sale.before if block.type == "customer"), None)
        if block is None or self.lines.customer is None:
            return varying
        customers = grouped(self.lines.rows, self.lines.places[self.lines.customer.name]).values()
        for path in _OF_CUSTOMERS:
            ranked = [(rank, seen) for seen in (*self.sale.left, *varying) if seen.kind == "text" and not voided(seen)
                      and (rank := called(seen.name, path, "customer")) is not None]  # fmt: skip
            if not ranked:
                continue
            seen = min(ranked, key=lambda each: each[0])[1]
            at = self.lines.places[seen.name]
            part = steadiness(([row for row in rows if row[at].strip()] or rows for rows in customers), at)
            block.fields.append((path, quoted(seen.name), "medium: a similar name; the first one counts"))
            if part < 1:
                count = round((1 - part) * len(customers))
                self.sale.ask(seen, f"{count:,} customers have several: the first one counts")
            varying = [one for one in varying if one is not seen]
            self.of_buyer += [seen.name] if self.of_buyer else []
            self._done(self.sale, seen, f"customer.{path}", "medium", "a similar name")
        return varying

    def _done(self, sheet: Sheet, seen: Seen, target: str, confidence: str, why: str) -> None:
        """Say what a column was taken for, whichever record it was left to."""
        if seen not in sheet.left:
            sheet.left.append(seen)
        sheet.done(seen, target, confidence, why)

    # Products and lines

    def _products(self, varying: list[Seen]) -> None:
        sale, lines = self.sale, self.lines
        told = lines.code or lines.name
        if told is None:
            sale.out.questions.append("no column names the products: sales are made without lines")
            self._without_lines(varying)
            return
        key = KeyGuess(
            (told.name,), "high" if lines.code else "medium", f"the {'code' if lines.code else 'name'} of a product"
        )
        groups = grouped(lines.rows, lines.places[told.name]).values()
        of_product = [
            seen
            for seen in varying
            if seen.name in (told.name, lines.name.name if lines.name else "")
            or (seen.values and seen.name != lines.amounts.quantity.name
                and steadiness(groups, lines.places[seen.name]) == 1 and len(groups) < len(lines.rows))
        ]  # fmt: skip
        product = sale.part(self.types["product"], of_product, key)
        product.main.head.append("repeats = true")
        self._named(product, told)
        by_same_name(product)
        by_similar_name(product)
        self._no_products(product, told)
        for seen in list(product.left):
            own_field(product, seen)
        sale.before.append(product.main)
        self._line(told, [seen for seen in varying if seen not in of_product])

    def _named(self, product: Sheet, told: Seen) -> None:
        """Name a product by what describes it, else by its code."""
        lines = self.lines
        if lines.code is not None:
            product.put("code", quoted(lines.code.name), "high: it tells products apart")
            self._done(
                product, next(s for s in product.left if s.name == told.name), "product.code", "high", "the code"
            )
        if lines.name is None:
            product.put("name", quoted(told.name), "medium: nothing else names a product")
            return
        name = quoted(lines.name.name)
        if lines.code is not None and lines.name.empty:
            name = f"{{ value = {{ first = {texts([lines.name.name, told.name])} }} }}"
        product.put("name", name, "high: the first one of a code counts" if lines.code else "medium: a similar name")
        seen = next(s for s in product.left if s.name == lines.name.name)
        product.done(seen, "product.name", "high" if lines.code else "medium", "a similar name")

    def _no_products(self, product: Sheet, told: Seen) -> None:
        """Tell postage, fees and discounts from products by a category: their lines are kept, so that sums agree."""
        known = {"fee": FEES, "discount": DISCOUNTS, "voucher": VOUCHERS}
        without = [code for code in told.distinct if not any(map(str.isdigit, code))]
        are_codes = 2 * len(without) < len(told.distinct)
        are_sure = are_codes and 10 * len(without) <= len(told.distinct)
        found: dict[str, list[str]] = {}
        for code in told.distinct:
            words = (plain(code), fold(code), plain(code.split("_")[0]))
            kind = next((name for name, listed in known.items() if not listed.isdisjoint(words)), "")
            if (kind and (are_codes or len(code) > 1)) or (self.lines.code and are_sure and code in without):
                found.setdefault(kind or "fee", []).append(code)
        if not found:
            return
        at = self.lines.places[told.name]
        listed = [code for codes in found.values() for code in codes]
        rows = sum(row[at].strip() in set(listed) for row in self.lines.rows)
        shown = ", ".join(map(quoted, listed[:_NAMED]))
        self.odd = listed
        if "category" not in product.taken:
            chosen = ", ".join(
                f'{{ when = {{ column = {quoted(told.name)}, is = {texts(codes)} }}, then = {{ const = "{kind}" }} }}'
                for kind, codes in found.items()
            )
            value = f'{{ value = {{ choose = [{chosen}], else = {{ const = "product" }} }} }}'
            product.put("category", value, "medium: these codes are hardly those of products")
        product.ask(
            told,
            f"{shown} ({_rows(rows)}) are hardly products: their lines are kept, so that sums agree; "
            "or skip them by a rule",
        )

    def _line(self, told: Seen, rest: list[Seen]) -> None:
        sale, lines = self.sale, self.lines
        key = KeyGuess((lines.invoice.name, told.name), "high", "a product twice in an invoice makes two lines")
        line = sale.part(self.types["sale_line"], rest, key)
        line.main.head.append('per = "line"')
        line.put("sale_id", source(lines.invoice.name, ref='"sale"'), "")
        line.put("product_id", source(told.name, ref='"product"'), "")
        line.put("quantity", quoted(self.quantity), "high: a similar name")
        line.put("amount", source(self.amount, currency=self.currency), f"high: {lines.amounts.price.name} x quantity")
        quantity = next(seen for seen in line.left if seen.name == lines.amounts.quantity.name)
        line.done(quantity, "sale_line.quantity", "high", "a similar name")
        for seen in list(line.left):
            own_field(line, seen)
        sale.after.append(line.main)
        self.per_line = told.name

    def _without_lines(self, varying: list[Seen]) -> None:
        """Say that what differs within an invoice goes nowhere where its lines make no records."""
        sale = self.sale
        if not self.has_lines:
            sale.out.questions.append(
                "crm-products is not installed: sales are made without their lines; install it and suggest again"
            )
        for seen in varying:
            is_used = seen.name == self.lines.amounts.quantity.name
            target, why = ("sale.amount", "part of the amount") if is_used else ("", "lines make no records here")
            if not is_used:
                sale.main.left.append(f"# {seen.name} is left out: {why}")
            self._done(sale, seen, target, "high" if is_used else "low", why)

    # The group

    per_line = ""
    odd: Sequence[str] = ()

    def _match(self) -> None:
        """Find the sale that a refund takes back: the latest one before it of the same customer and product."""
        lines, sale = self.lines, self.sale
        customer = next((f for f in sale.main.fields if f[0] == "customer_id"), None)
        if not (self.kind and self.per_line and lines.date and lines.customer and customer):
            return
        kind = quoted(self.kind)
        found = "refunded"
        while found in lines.places or found in sale.out.computed:
            found += "_sale"
        self.match = [
            f"[match.{found}]  # the file does not say which sale a refund takes back",
            f'when = {{ column = {kind}, is = "refund" }}',
            f'among = {{ column = {kind}, is = "sale" }}',
            f"same = {texts([column_of(customer[1]) or lines.customer.name, self.per_line])}",
            f"latest = {quoted(lines.date.name)}  # the latest one before it of the same customer and product",
            "",
        ]
        sale.put("refunds_sale_id", source(found, ref='"sale"', unknown='"keep"'), "medium: the latest such sale")

    match: Sequence[str] = ()

    def _group(self) -> None:
        lines, out = self.lines, self.sale.out
        out.tables += ["[group]", f"by = {quoted(lines.invoice.name)}  # {lines.key.confidence}: {lines.key.why}"]
        if self.per_line:
            out.tables += [f"line = {quoted(self.per_line)}", 'same_line = "apart"  # a product twice: two lines']
        repeated = lines.repeated()
        told = f"{_rows(repeated)} equal to another one in every cell"
        out.tables.append(f'same_row = "keep"  # {told}')
        if repeated:
            out.questions.append(f'{told}: kept, each is a line; same_row = "once" would take them once')
        out.tables.append("[group.columns]  # what one invoice has of many rows; all others must agree")
        out.tables += [*(f"{quoted(name)} = {policy}" for name, policy in self.policies.items()), "", *self.match]

    def _checks(self) -> None:
        lines = self.lines
        if lines.customer is not None and lines.customer.empty:
            when = f"{{ column = {quoted(lines.customer.name)}, given = false }}"
            self._check("group", when, "{count} invoices have no customer: they are sales of nobody known")
        if self.kind:
            when = f'{{ column = {quoted(self.kind)}, is = "refund" }}'
            self._check("group", when, "{count} invoices are refunds")
        if self.odd and self.per_line:
            when = f"{{ column = {quoted(self.per_line)}, is = {texts(self.odd)} }}"
            self._check("line", when, "{count} lines are fees, discounts or vouchers")

    def _check(self, per: str, when: str, say: str) -> None:
        self.sale.out.checks += ["[[check]]", f"per = {quoted(per)}", f"when = {when}", f"say = {quoted(say)}", ""]


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"
