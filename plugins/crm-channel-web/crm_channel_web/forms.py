"""Web forms: what people write on the pages of the account's origins, proved by a token of ours that is valid once."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import attrs

from crm_channel_web.brought import Brought
from crm_channel_web.signing import SHORTEST, same
from crm_core import Consent, Write
from crm_core.errors import CredentialsWrong, InvalidValue, NotFound, RequestRefused, SettingsError, UsageError
from crm_core.extend import Address, Channel, ChannelAccount, IncomingMessage, Received, WebhookRequest
from crm_core.query.ast import And, Compare
from crm_core.settings import Secret

if TYPE_CHECKING:
    from crm_core import CRM

log = logging.getLogger(__name__)
_LONGEST: Final = timedelta(days=1)
"""How long a page may stay open before its form is sent."""
_FIELDS: Final = 100
_ENCODING: Final = "application/x-www-form-urlencoded"


@attrs.frozen(kw_only=True)
class FormSettings:
    """The keys of `[channels.<name>]`.

    Args:
        secret: what tokens are signed with.
        origins: the sites whose pages may have the form, such as "https://example.org".
        fields: what each field of the form is: `name`, `email`, `phone`, `subject`, `message`; any other name is told
            in the text. "email=mail" says that the field `mail` is the e-mail address.
        labels: what the snippet calls the fields: "email=Your e-mail".
        thanks: the page that comes after the form; without it a line of text.
        least_seconds: what a person needs at least to fill it in.
        trap: a field that people do not see; who fills it in is a machine.
        consent: the purpose that the box of the form stands for; empty: there is no box.
        consent_text: what is said beside the box.
        consent_version: which text that is.
        button: what the snippet writes on the button.
        answer: the template of a message that says that the form has arrived, once a day to an address; empty: none.
    """

    secret: Secret
    origins: tuple[str, ...]
    fields: tuple[str, ...] = ("name=name", "email=email", "message=message")
    labels: tuple[str, ...] = ()
    thanks: str = ""
    least_seconds: int = 3
    trap: str = "website"
    consent: str = ""
    consent_text: str = ""
    consent_version: str = ""
    button: str = "Send"
    answer: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.origins:
            raise ValueError('origins: name the sites that have the form: origins = ["https://example.org"]')
        if self.consent and not (self.consent_text and self.consent_version):
            raise ValueError("consent: consent_text and consent_version must say what is consented to")
        if not {"email", "phone"} & pairs_of(self.fields).keys():
            raise ValueError('fields: one must be an address: fields = ["email=email"]')


class WebForm(Channel):
    """One form. A GET returns a token, which the form sends with what was written; it is valid once, for a day."""

    def __init__(self, account: ChannelAccount) -> None:
        self._account = account.name
        self._settings: FormSettings = account.settings

    def parse(self, request: WebhookRequest) -> Received:
        """Return a token for a page that asks, or what was written in the form."""
        origin = request.headers.get("origin", "")
        if request.method == "GET" and (not origin or origin in self._settings.origins):
            return Brought(reply=self._token(request.received_at), origin=origin)
        if origin not in self._settings.origins:
            raise RequestRefused(f"{origin or 'no page'} is none of the origins of the form")
        written = self._written(request)
        key = self._proved(written.get("token", ""), request.received_at)
        if written.get(self._settings.trap, "").strip():  # a machine is not told that it was noticed
            return Brought(origin=origin, location=self._settings.thanks)
        try:
            message = self._message(key, written, request.received_at)
        except InvalidValue as error:
            raise RequestRefused(f"what was written is no message: {error.message}") from None
        version = written.get("consent", "").strip()[:100] if self._settings.consent else ""
        consent = Consent(
            contact_point_id=0,
            purpose=self._settings.consent or "none",
            status="granted",
            at=request.received_at,
            source=f"form {self._account}",
            text_version=version,
        )
        store = partial(
            _further,
            key=key,
            sender=message.sender,
            consent=consent if version else None,
            answer=self._settings.answer,
            at=request.received_at,
        )
        return Brought(
            messages=[message],
            store=store if version or self._settings.answer else None,
            origin=origin,
            location=self._settings.thanks,
            reply="" if self._settings.thanks else "OK",
        )

    def check(self) -> str:
        """See that the secret is there."""
        if len(self._settings.secret.reveal()) < SHORTEST:
            raise CredentialsWrong(f"the secret has fewer than {SHORTEST} characters, so it can be guessed")
        return f"the secret is there; pages of {', '.join(self._settings.origins)} may have the form"

    def _token(self, now: datetime) -> str:
        plain = f"{int(now.timestamp() * 1000)}.{token_hex(8)}"
        return f"{plain}.{self._signed(plain)}"

    def _signed(self, plain: str) -> str:
        text = f"{self._account}.{plain}".encode()
        return hmac.digest(self._settings.secret.reveal().encode(), text, "sha256").hex()

    def _proved(self, token: str, now: datetime) -> str:
        """Return what makes this filling-in one, after the token was proved to be ours, and neither new nor old."""
        plain, _, signature = token.rpartition(".")
        if not plain or not same(self._signed(plain), signature):
            raise RequestRefused("the form has no token of ours", hint="the page must run the script of the snippet")
        age = now - datetime.fromtimestamp(int(plain.partition(".")[0]) / 1000, UTC)
        if not timedelta(seconds=self._settings.least_seconds) <= age <= _LONGEST:
            raise RequestRefused(f"the form was sent {age.total_seconds():.0f} seconds after its page asked for it")
        return plain

    def _written(self, request: WebhookRequest) -> dict[str, str]:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _ENCODING:
            raise RequestRefused(f"the form is not sent as {_ENCODING}")
        try:
            text = request.body.decode("ascii")
            found = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
        except ValueError:
            raise RequestRefused("the form is no text in UTF-8, or has too many fields") from None
        written: dict[str, str] = {}
        for name, value in found:
            written[name] = f"{written[name]}, {value}" if name in written else value
        return written

    def _message(self, key: str, written: Mapping[str, str], at: datetime) -> IncomingMessage:
        fields = pairs_of(self._settings.fields)
        said = {part: written.get(field, "").replace("\r\n", "\n").strip() for part, field in fields.items()}
        name = " ".join(said.pop("name", "").split())
        email, phone = said.pop("email", ""), said.pop("phone", "")
        subject, text = " ".join(said.pop("subject", "").split()), said.pop("message", "")
        others = {**({"phone": phone} if email else {}), **said}
        lines = [text, *(f"{part}: {value}" for part, value in others.items() if value)]
        if self._settings.consent and written.get("consent", "").strip():
            lines.append(f"consent: {self._settings.consent} ({written['consent'].strip()[:100]})")
        return IncomingMessage(
            external_id=f"form:{key}",
            sender=Address(kind="email" if email else "phone", value=email or phone, name=name),
            at=at,
            subject=subject,
            text="\n".join(line for line in lines if line),
        )


def pairs_of(given: tuple[str, ...]) -> dict[str, str]:
    """Return what settings such as ("email=mail",) say, by the first word."""
    return {name.strip(): value.strip() for name, _, value in (each.partition("=") for each in given)}


def settings_of(crm: CRM, account: str) -> FormSettings:
    """Return the settings of an account that is a form.

    Raises:
        NotFound: there is no such account.
        SettingsError: it is another channel, or its settings are wrong.
    """
    if crm.channels.account(account).type != "form":
        raise SettingsError(f"the account {account!r} is no form", hint='one has type = "form" in crm.toml')
    with crm.channels.open(account) as opened:
        found: FormSettings = opened.settings
        return found


def _further(
    crm: Any, account: str, *, key: str, sender: Address, consent: Consent | None, answer: str, at: datetime
) -> None:
    """Store what comes with a message: a consent, and that the form is answered."""
    if consent is not None:
        _grant(crm, account, key=key, sender=sender, consent=consent)
    if answer:
        _answer(crm, account, sender=sender, template=answer, at=at)


def _answer(crm: Any, account: str, *, sender: Address, template: str, at: datetime) -> None:
    """Say that a form has arrived: once a day to an address, so that nobody is flooded by who types it in."""
    once = hashlib.sha256(f"{account} {sender.value.casefold()} {at.date()}".encode()).hexdigest()
    if crm.records("outbox_message").count(Compare("once", "=", once)):
        return
    owners = crm.customers.reached_at(sender.kind, sender.value)
    known = owners[0] if len(owners) == 1 else None
    try:
        crm.outbox.send(template=template, customer=known, to=sender, automatic=True, once=once)
    except (NotFound, InvalidValue, UsageError) as error:  # what was written counts more than the answer
        log.warning("%s: the form is not answered: %s", account, error.message)


def _grant(crm: Any, account: str, *, key: str, sender: Address, consent: Consent) -> None:
    """Store a consent once: of the contact point that the form was written from, if it is one customer's."""
    system = f"channel:{account}"
    if crm.external_ids.find_many("consent", system, [key]):
        return
    owners = crm.customers.reached_at(sender.kind, sender.value)
    if len(owners) != 1:  # nobody is guessed; the text of the message keeps what was said
        return
    points = crm.contact_points.find(And((Compare("customer_id", "=", owners[0]), Compare("kind", "=", sender.kind))))
    keys = {point.id for point in points if point.value == sender.value} or {point.id for point in points}
    granted = consent.evolve(contact_point_id=min(keys))
    crm.records(Consent).write_many([Write(record=granted, external=(system, key))])
