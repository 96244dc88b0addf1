"""Orders of shops: each becomes one sale, however often the shop tells of it; what is given back is a refund of it."""

from __future__ import annotations

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
    """An order as a shop tells of it; `counts` says that it is a sale, `cancelled` that it is none any more."""

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
    refunds: tuple[OrderRefund, ...] = ()


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
        _keep_refunds(crm, account, sale, order)
        after = _cancelled(crm, sale, order, after)
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


def _keep_refunds(crm: CRM, account: str, sale: Sale, order: Order) -> None:
    """Store the refunds that are new, each as far as something of the sale is left."""
    system = f"channel:{account}"
    keys = {f"refund:{refund.number}": refund for refund in order.refunds}
    known = crm.external_ids.find_many("sale", system, list(keys)) if keys else {}
    for key, refund in keys.items():
        left = _left(crm, sale)
        if key in known or refund.amount.currency != left.currency:
            continue
        amount = min(refund.amount.minor, left.minor)
        if amount > 0:
            _refund(crm, sale, Money.from_minor(amount, left.currency), refund.at, (system, key))


def _cancelled(crm: CRM, sale: Sale, order: Order, known: ShopOrder) -> ShopOrder:
    """Give back what is left of an order that was cancelled, or take that back when it counts again."""
    if order.cancelled and known.cancelling_id is None and (left := _left(crm, sale)).minor > 0:
        return known.evolve(cancelling_id=_refund(crm, sale, left, order.modified_at, None).id)
    if not order.cancelled and known.cancelling_id is not None:
        refund = crm.sales.get(known.cancelling_id)
        if refund.voided_at is None:
            crm.sales.void(refund)
        return known.evolve(cancelling_id=None)
    return known


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


def _left(crm: CRM, sale: Sale) -> Money:
    assert sale.amount is not None, "the sale of an order has its amount"
    refunds = crm.sales.find(And((Compare("refunds_sale_id", "=", sale.id), IsNull("voided_at"))), limit=None)
    returned = sum(refund.amount.minor for refund in refunds if refund.amount is not None)
    return Money.from_minor(sale.amount.minor - returned, sale.amount.currency)


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
