"""The webhooks of shops: WooCommerce and Shopify sign the raw body, and tell of an order whole each time."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any, ClassVar, Final

import attrs

from crm_channel_web.brought import Brought
from crm_channel_web.orders import Order, OrderLine, OrderRefund, keep_order
from crm_channel_web.signing import SHORTEST, base64_hmac, read_json, revealed, same
from crm_core import Money
from crm_core.errors import CredentialsWrong, CrmError, RequestRefused
from crm_core.extend import Address, Channel, ChannelAccount, IncomingMessage, Received, WebhookRequest
from crm_core.settings import Secret
from crm_core.values import exponent

_UNITS: Final = {"IRT": ("IRR", 10), "IRHR": ("IRR", 1_000), "IRHT": ("IRR", 10_000)}
"""Currencies that shops have and ISO 4217 has not: toman, and thousands of rials and tomans."""
_MOST: Final = 10**9
"""Of a product in one line."""
_WHOLE: Final = frozenset(
    f"orders/{what}" for what in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled")
)
"""Topics of Shopify whose events are an order: those of others, such as `orders/edited`, only name one."""
_PING: Final = re.compile(rb"webhook_id=\d{1,20}")
"""What WooCommerce sends, unsigned, when a webhook is saved."""


@attrs.frozen(kw_only=True)
class WooCommerceSettings:
    """The keys of `[channels.<name>]`: the secret of the webhook, and the states in which an order is a sale."""

    secret: Secret
    former_secret: Secret | None = None
    counts: tuple[str, ...] = ("processing", "completed", "refunded")


@attrs.frozen(kw_only=True)
class ShopifySettings:
    """The keys of `[channels.<name>]`: the secret, and the financial states in which an order is a sale."""

    secret: Secret
    former_secret: Secret | None = None
    counts: tuple[str, ...] = ("paid", "partially_paid", "partially_refunded", "refunded")


class Shop(Channel):
    """A shop whose orders become sales, and the notes of customers in them messages."""

    signature: ClassVar[str]
    topic: ClassVar[str]

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: WooCommerceSettings | ShopifySettings = account.settings

    def parse(self, request: WebhookRequest) -> Received:
        """Take an order whose body is signed by one of the secrets; other topics are answered and not kept."""
        given = request.headers.get(self.signature, "")
        secrets = revealed((self._settings.secret, self._settings.former_secret))
        if not given or not any(same(base64_hmac(secret, request.body), given) for secret in secrets):
            raise RequestRefused("the signature is of none of the secrets")
        content = read_json(request.body)
        if not self.wanted(request.headers.get(self.topic, "")):
            return Received()
        try:
            order, note = self.order(content), self.note(content)
            known = bool(order.email or order.phone)
            messages = [_message(order, note)] if note.strip() and known else []
            otherwise = _refused(order, request.body.decode()) if known else None
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, CrmError) as error:
            told = f"the order is not as the shop describes orders: {type(error).__name__} {error}"
            raise RequestRefused(" ".join(told.split())[:400]) from None
        return Brought(messages=messages, store=partial(keep_order, order=order), otherwise=otherwise)

    def check(self) -> str:
        """See that the secret is there."""
        if any(len(one) < SHORTEST for one in revealed((self._settings.secret, self._settings.former_secret))):
            raise CredentialsWrong(f"the secret has fewer than {SHORTEST} characters, so it can be guessed")
        return "the secret is there; the shop was not asked"

    @abstractmethod
    def wanted(self, topic: str) -> bool:
        """Whether events of a topic have an order."""

    @abstractmethod
    def order(self, content: Mapping[str, Any]) -> Order:
        """Return the order of an event."""

    @abstractmethod
    def note(self, content: Mapping[str, Any]) -> str:
        """Return what the customer wrote in the order."""


class WooCommerce(Shop):
    """Orders as version 3 of the REST interface of WooCommerce has them."""

    signature = "x-wc-webhook-signature"
    topic = "x-wc-webhook-topic"

    def parse(self, request: WebhookRequest) -> Received:
        """Take an order; the first request of a new webhook has nothing in it, not even a signature."""
        return Received() if _PING.fullmatch(request.body) else super().parse(request)

    def wanted(self, topic: str) -> bool:
        return topic in ("order.created", "order.updated", "order.restored")

    def note(self, content: Mapping[str, Any]) -> str:
        return str(content.get("customer_note") or "")

    def order(self, content: Mapping[str, Any]) -> Order:
        billing, currency = content.get("billing") or {}, str(content["currency"])
        modified = _utc(content.get("date_modified_gmt") or content["date_created_gmt"])
        return Order(
            number=str(int(content["id"])),
            at=_utc(content["date_created_gmt"]),
            modified_at=modified,
            amount=_money(content["total"], currency),
            counts=content["status"] in self._settings.counts,
            cancelled=content["status"] in ("cancelled", "failed", "trash"),
            name=_words(billing.get("first_name"), billing.get("last_name")) or _words(billing.get("company")),
            email=_words(billing.get("email")),
            phone=_words(billing.get("phone")),
            country=_words(billing.get("country")),
            city=_words(billing.get("city")),
            lines=tuple(
                OrderLine(
                    product=str(each.get("variation_id") or each["product_id"]),
                    name=_words(each.get("name")),
                    code=_words(each.get("sku")),
                    quantity=_quantity(each["quantity"]),
                    amount=_money(Decimal(each["total"]) + Decimal(each.get("total_tax") or "0"), currency),
                )
                for each in content.get("line_items") or ()
            ),
            refunds=_each(
                content.get("refunds"),
                lambda each: OrderRefund(
                    number=str(each["id"]), amount=_money(abs(Decimal(each["total"])), currency), at=modified
                ),
            ),
        )


class Shopify(Shop):
    """Orders as the REST interface of Shopify has them."""

    signature = "x-shopify-hmac-sha256"
    topic = "x-shopify-topic"

    def wanted(self, topic: str) -> bool:
        return topic in _WHOLE

    def note(self, content: Mapping[str, Any]) -> str:
        return str(content.get("note") or "")

    def order(self, content: Mapping[str, Any]) -> Order:
        customer, address = content.get("customer") or {}, content.get("billing_address") or {}
        currency = str(content["currency"])
        refunds = _each(content.get("refunds"), lambda each: _shopify_refund(each, currency, content))
        return Order(
            number=str(int(content["id"])),
            at=_utc(content["created_at"]),
            modified_at=_utc(content["updated_at"]),
            amount=_shopify_total(content, refunds or (), currency),
            counts=content.get("financial_status") in self._settings.counts and content.get("test") is not True,
            cancelled=bool(content.get("cancelled_at")),
            name=_words(customer.get("first_name"), customer.get("last_name")) or _words(address.get("name")),
            email=_words(content.get("email") or customer.get("email")),
            phone=_words(content.get("phone") or customer.get("phone") or address.get("phone")),
            country=_words(address.get("country_code")),
            city=_words(address.get("city")),
            lines=tuple(
                OrderLine(
                    product=str(each.get("variant_id") or each.get("product_id") or each["id"]),
                    name=_words(each.get("name") or each.get("title")),
                    code=_words(each.get("sku")),
                    quantity=kept,
                    amount=_money(_shopify_amount(each, kept, taxed=content.get("taxes_included") is True), currency),
                )
                for each in content.get("line_items") or ()
                if (kept := _shopify_quantity(each, content)) > 0
            ),
            refunds=refunds,
        )


def _each(found: Any, read: Callable[[Mapping[str, Any]], OrderRefund]) -> tuple[OrderRefund, ...] | None:
    """Return the refunds that an event tells of; None if it has no list of them."""
    return tuple(map(read, found)) if isinstance(found, list) else None


def _shopify_total(content: Mapping[str, Any], refunds: Sequence[OrderRefund], currency: str) -> Money:
    """Return what an order came to before anything was given back.

    Its total keeps what an edit removed, its current total has neither that nor what was given back. Of a cancelled
    order nothing is current any more.
    """
    total, current = _money(content["total_price"], currency), content.get("current_total_price")
    if current is None or content.get("cancelled_at"):
        return total
    return sum((each.amount for each in refunds), start=_money(current, currency))


def _shopify_quantity(line: Mapping[str, Any], content: Mapping[str, Any]) -> Decimal:
    """Return how much of a line was sold: what is in the order now, and what was given back for money.

    What an edit removed is in neither.
    """
    if content.get("cancelled_at") or line.get("current_quantity") is None:
        return _quantity(line["quantity"])
    returned = [
        _quantity(each["quantity"])
        for refund in content.get("refunds") or ()
        if _shopify_paid(refund)
        for each in refund.get("refund_line_items") or ()
        if each.get("line_item_id") == line["id"]
    ]
    return min(sum(returned, _quantity(line["current_quantity"])), _quantity(line["quantity"]))


def _shopify_amount(line: Mapping[str, Any], kept: Decimal, *, taxed: bool) -> Decimal:
    """Return the amount of a line with its taxes, after discounts: those of codes are in its allocations alone.

    Of a line of which an edit took a part away it is as much as is kept.
    """
    found = line.get("discount_allocations")
    discounts = [each["amount"] for each in found] if found else [line.get("total_discount") or "0"]
    taxes = [] if taxed else [each.get("price") or "0" for each in line.get("tax_lines") or ()]
    quantity = _quantity(line["quantity"])
    whole = Decimal(line["price"]) * quantity
    whole += sum(map(Decimal, taxes), Decimal(0)) - sum(map(Decimal, discounts), Decimal(0))
    return whole if kept == quantity else whole * kept / quantity


def _shopify_paid(refund: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the transactions of a refund that went through."""
    found = refund.get("transactions") or ()
    return [each for each in found if each.get("kind") == "refund" and each.get("status") == "success"]


def _shopify_refund(found: Mapping[str, Any], currency: str, order: Mapping[str, Any]) -> OrderRefund:
    """Return what a refund gave back: the transactions that went through."""
    paid = [_in_shop_currency(each, currency, order) for each in _shopify_paid(found)]
    return OrderRefund(
        number=str(found["id"]), amount=_money(sum(paid, Decimal(0)), currency), at=_utc(found["created_at"])
    )


def _in_shop_currency(transaction: Mapping[str, Any], currency: str, order: Mapping[str, Any]) -> Decimal:
    """Return the amount of a transaction: one in the currency of the customer, at the rate of the order."""
    amount, paid_in = Decimal(transaction["amount"]), transaction.get("currency") or currency
    if paid_in == currency:
        return amount
    total = order["total_price_set"]
    if total["presentment_money"]["currency_code"] != paid_in:
        raise ValueError(f"a refund is in {paid_in}, which is no currency of the order")
    whole = Decimal(total["presentment_money"]["amount"])
    return amount * Decimal(total["shop_money"]["amount"]) / whole if whole else Decimal(0)


def _message(order: Order, note: str) -> IncomingMessage:
    kind, value = ("email", order.email) if order.email else ("phone", order.phone)
    return IncomingMessage(
        external_id=f"order:{order.number}:note",
        sender=Address(kind=kind, value=value, name=order.name),
        at=order.at,
        subject=f"Order {order.number}",
        text=note,
        thread=f"order:{order.number}",
    )


def _refused(order: Order, content: str) -> IncomingMessage:
    """Return what stands for an order that a rule of the workspace refuses: all that the shop said of it."""
    return attrs.evolve(
        _message(order, content),
        external_id=f"order:{order.number}:{order.modified_at.isoformat()}:refused",
        subject=f"Order {order.number} could not be stored",
    )


def _money(found: Any, currency: str) -> Money:
    """Read an amount, rounded to what the currency has: shops keep more decimals of taxes."""
    unit, times = _UNITS.get(currency, (currency, 1))
    amount = Decimal(str(found)) * times
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{found!r} is no amount of an order")
    return Money(amount.quantize(Decimal(1).scaleb(-exponent(unit)), ROUND_HALF_EVEN), unit)


def _quantity(found: Any) -> Decimal:
    quantity = Decimal(str(found))
    if not abs(quantity) < _MOST:  # nor is what is no number
        raise ValueError(f"{found!r} is no quantity of an order")
    return quantity


def _utc(found: Any) -> datetime:
    """Read a time; one without a zone is in UTC, as WooCommerce says by the name of its field."""
    at = datetime.fromisoformat(found)
    return at if at.utcoffset() is not None else at.replace(tzinfo=UTC)


def _words(*found: Any) -> str:
    return " ".join(" ".join(str(each) for each in found if each).split())
