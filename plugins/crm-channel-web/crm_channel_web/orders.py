"""Orders of shops: each becomes one sale, however often the shop tells of it; what is given back is a refund of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core import ContactPoint, Customer, Money, Record, Sale, Write
from crm_core.errors import InvalidValue
from crm_core.query.ast import And, Compare, IsNull
from crm_core.records import When, moment, record, reference, text

if TYPE_CHECKING:
    from crm_core import CRM

_THOUSANDTHS: Final = Decimal("0.001")


@record("shop_order", label="Shop order", unique=[("account", "number")])
class ShopOrder(Record):
    """How far an order of a shop is known. An event that is older than `modified_at` says nothing new.

    `cancelling_id` is the refund that the order's cancellation made, which goes when the order counts again.
    """

    account: str = text("Account", max_length=60)
    number: str = text("Number", max_length=100)
    modified_at: When = moment("Modified")
    sale_id: int | None = reference("sale", "Sale", default=None)
    cancelling_id: int | None = reference("sale", "Refund of the cancellation", default=None)


@attrs.frozen(kw_only=True)
class OrderLine:
    """A product of an order: the shop's id for it, its name, its code (SKU); `amount` is that of the whole line."""

    product: str
    name: str
    code: str = ""
    quantity: Decimal = Decimal(1)
    amount: Money


@attrs.frozen(kw_only=True)
class OrderRefund:
    """Money that the shop gave back."""

    number: str
    amount: Money
    at: datetime


@attrs.frozen(kw_only=True)
class Order:
    """An order as a shop tells of it; `counts` says that it is a sale, `cancelled` that it is none any more.

    `refunds` are all that there are, so that one which is missing was deleted; None where nothing is said of them.
    """

    number: str
    at: datetime
    modified_at: datetime
    amount: Money
    counts: bool
    cancelled: bool
    name: str = ""
    email: str = ""
    phone: str = ""
    country: str = ""
    city: str = ""
    lines: tuple[OrderLine, ...] = ()
    refunds: tuple[OrderRefund, ...] | None = None


def keep_order(crm: CRM, account: str, *, order: Order) -> None:
    """Bring the sale of an order in line with it; told again, or by an older event, it changes nothing."""
    service = crm.records(ShopOrder)
    found = service.find(And((Compare("account", "=", account), Compare("number", "=", order.number))), limit=1)
    known = found[0] if found else None
    if known is not None and _moment(known.modified_at) > order.modified_at:
        return
    before = known or ShopOrder(account=account, number=order.number, modified_at=order.modified_at)
    sale = crm.sales.get(before.sale_id) if before.sale_id is not None else None
    if sale is None and order.counts:
        sale = _sold(crm, account, order)
    elif sale is not None and sale.voided_at is None and sale.amount != order.amount:
        sale = crm.sales.edit(sale.evolve(amount=order.amount))
    after = before.evolve(modified_at=order.modified_at, sale_id=sale.id if sale is not None else None)
    if sale is not None and sale.voided_at is None:  # one that a person voided stays so
        _keep_lines(crm, account, sale, order)
        after = _keep_refunds(crm, account, sale, order, after)
    if known is None:
        service.add(after)
    elif after != before:
        service.edit(after)


def _sold(crm: CRM, account: str, order: Order) -> Sale:
    system = f"channel:{account}"
    sale = Sale(
        customer_id=_customer(crm, account, order),
        sold_at=order.at,
        amount=order.amount,
        source=crm.channels.account(account).type,
    )
    return crm.sales.add(sale, external=(system, f"order:{order.number}"))


def _customer(crm: CRM, account: str, order: Order) -> int | None:
    """Return who ordered: whoever has the address, a new customer if nobody has it, None if several have it."""
    points = []
    for kind, value in (("email", order.email), ("phone", order.phone)):
        try:
            owners = crm.customers.reached_at(kind, value) if value else []
        except InvalidValue:
            continue
        if owners:
            return owners[0] if len(owners) == 1 else None
        if value:
            points.append(ContactPoint(customer_id=0, kind=kind, value=value, primary=True))
    if not points:
        return None
    made = crm.customers.add(
        Customer(
            name=order.name or None,
            source=crm.channels.account(account).type,
            first_contact_at=order.at,
            country=order.country or None,
            city=order.city or None,
        )
    )
    crm.contact_points.add_many(point.evolve(customer_id=made.id) for point in points)
    return made.id


def _keep_refunds(crm: CRM, account: str, sale: Sale, order: Order, known: ShopOrder) -> ShopOrder:
    """Bring the refunds of a sale in line with the shop, and give back what is left of an order that was cancelled.

    One that the shop deleted is voided; what a person refunded, or voided, in the CRM stays so. All of them together
    are never more than the sale.
    """
    assert sale.amount is not None, "the sale of an order has its amount"
    system, currency = f"channel:{account}", sale.amount.currency
    live = list(crm.sales.find(And((Compare("refunds_sale_id", "=", sale.id), IsNull("voided_at"))), limit=None))
    before = _by_key(crm, system, live)
    cancelling = next((each for each in live if each.id == known.cancelling_id), None)
    ours = {each.id for each in (*before.values(), *([cancelling] if cancelling is not None else []))}
    left = sale.amount.minor - sum(_minor(each) for each in live if each.id not in ours)
    after = dict[str, int]()
    for key, amount in _told(crm, system, order, before).items():
        after[key] = max(min(amount.minor, left), 0) if amount.currency == currency else 0
        left -= after[key]
    left = max(left, 0) if order.cancelled else 0
    # What takes away comes first, for more than what is left of a sale cannot be refunded.
    for key, refund in before.items():
        _change(crm, refund, after.get(key, 0))
    if cancelling is not None:
        _change(crm, cancelling, left)
    for each in order.refunds or ():
        key = f"refund:{each.number}"
        if after.get(key, 0) > 0 and key not in before:
            _refund(crm, sale, Money.from_minor(after[key], currency), each.at, (system, key))
    if left and known.cancelling_id is None:
        made = _refund(crm, sale, Money.from_minor(left, currency), order.modified_at, None)
        return known.evolve(cancelling_id=made.id)
    return known if order.cancelled and (left or cancelling is None) else known.evolve(cancelling_id=None)


def _told(crm: CRM, system: str, order: Order, before: Mapping[str, Sale]) -> dict[str, Money]:
    """Return what the shop gave back, by key; one that is known and does not count was voided here."""
    if order.refunds is None:
        return {key: refund.amount for key, refund in before.items() if refund.amount is not None}
    told = {f"refund:{refund.number}": refund.amount for refund in order.refunds}
    known = crm.external_ids.find_many("sale", system, list(told)) if told else {}
    return {key: amount for key, amount in told.items() if key in before or key not in known}


def _by_key(crm: CRM, system: str, refunds: Sequence[Sale]) -> dict[str, Sale]:
    """Return the refunds that came from the shop, by what they are called there."""
    names = crm.external_ids.of("sale", [each.id for each in refunds]) if refunds else {}
    return {name.external: each for each in refunds for name in names.get(each.id, ()) if name.system == system}


def _change(crm: CRM, refund: Sale, minor: int) -> None:
    """Have a refund be of another amount, or not be any more."""
    if minor <= 0:
        crm.sales.void(refund)
    elif refund.amount is not None and minor != refund.amount.minor:
        crm.sales.edit(refund.evolve(amount=Money.from_minor(minor, refund.amount.currency)))


def _minor(refund: Sale) -> int:
    return refund.amount.minor if refund.amount is not None else 0


def _refund(crm: CRM, sale: Sale, amount: Money, at: datetime, external: tuple[str, str] | None) -> Sale:
    refund = Sale(
        customer_id=sale.customer_id,
        kind="refund",
        refunds_sale_id=sale.id,
        sold_at=at,
        amount=amount,
        source=sale.source,
        owner_id=sale.owner_id,
    )
    return crm.sales.add(refund, external=external)


def _keep_lines(crm: CRM, account: str, sale: Sale, order: Order) -> None:
    """Store the lines of the order where crm-products is at work; changed ones replace all that were there."""
    if "sale_line" not in crm.registry.types:
        return
    kind: Any = crm.registry.types["sale_line"].cls
    lines: Any = crm.records(kind)
    before = lines.find(Compare("sale_id", "=", sale.id), limit=None)
    after = [(_product(crm, account, each), each.quantity.quantize(_THOUSANDTHS), each.amount) for each in order.lines]
    if sorted(map(repr, after)) == sorted(repr((each.product_id, each.quantity, each.amount)) for each in before):
        return
    for each in before:
        lines.delete(each)
    lines.add_many(
        kind(sale_id=sale.id, product_id=product, quantity=quantity, amount=amount)
        for product, quantity, amount in after
    )


def _product(crm: CRM, account: str, line: OrderLine) -> int:
    """Return the product of a line: by its code, by the shop's id, else a new one."""
    system, key = f"channel:{account}", f"product:{line.product}"
    products: Any = crm.records("product")
    if line.code and (found := products.find(Compare("code", "=", line.code), limit=1)):
        return int(found[0].id)
    known = crm.external_ids.find_many("product", system, [key]).get(key)
    if known is not None and known.state in ("live", "merged"):
        return known.record_id
    product: Any = crm.registry.types["product"].cls
    made = Write(record=product(name=line.name or key, code=line.code or None), external=(system, key), known=known)
    return int(products.write_many([made]).records[0].id)


def _moment(found: When) -> datetime:
    assert isinstance(found, datetime), "it was stored with its time"
    return found
