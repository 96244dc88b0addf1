"""What the services of Meta's Graph API have in common: signed events, the verified webhook, errors by their codes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from crm_channel_messengers.service import Reply, Service, dict_of, hex_signature, is_same, object_of, text_of
from crm_core.errors import CredentialsWrong, MessageRejected, RequestRefused, TryLater
from crm_core.extend import Received, WebhookRequest
from crm_core.settings import Secret

API: Final = "https://graph.facebook.com/v23.0"
_PATIENCE: Final = frozenset({1, 2, 4, 17, 32, 341, 368, 613})
"""Codes of errors that pass in every service: too many calls, or a fault of theirs."""
_CREDENTIALS: Final = frozenset({0, 102, 190})
_PROOF: Final = "appsecret_proof"
_OWN: Final = 1_000
"""From here on a code is a service's own."""


def verified(request: WebhookRequest, token: Secret) -> Received:
    """Answer the challenge by which the address of a webhook is verified.

    Raises:
        RequestRefused: it does not have the token.
    """
    same = is_same(token.reveal(), request.query.get("hub.verify_token", ""))
    if request.query.get("hub.mode") != "subscribe" or not same:
        raise RequestRefused("the verify token is not that of the account")
    return Received(reply=request.query.get("hub.challenge", "")[:200])


def event_of(request: WebhookRequest, app_secret: Secret, kind: str) -> dict[str, Any]:
    """Return the event of a request that is signed by the app's secret.

    Raises:
        RequestRefused: it is not signed, or no event of this kind.
    """
    given = request.headers.get("x-hub-signature-256", "")
    if not is_same(f"sha256={hex_signature(app_secret, request.body)}", given):
        raise RequestRefused("the signature is not that of the app's secret")
    content = object_of(request.body)
    if content.get("object") != kind:
        raise RequestRefused(f"the body is no event of {kind}")
    return content


def called(service: Service, method: str, path: str, token: Secret, app_secret: Secret, **given: Any) -> Reply:
    """Ask the service with the account's token, and with the proof that we know the app's secret.

    An app may ask for that proof with every call (`Require App Secret`).
    """
    proof = {"appsecret_proof": hex_signature(app_secret, token.reveal().encode())}
    headers = {"authorization": f"Bearer {token.reveal()}"}
    return service.call(method, path, headers=headers, **{**given, "params": {**given.get("params", {}), **proof}})


def require_done(reply: Reply, name: str, patience: Collection[int], credentials: Collection[int]) -> None:
    """Make sure that the service did what it was asked.

    Args:
        reply: what it answered.
        name: what people call it.
        patience: codes of its own errors that pass.
        credentials: codes of its own errors that are about the account.

    Raises:
        TryLater: it asks for patience.
        CredentialsWrong: it does not accept the token.
        MessageRejected: it refuses the message.
    """
    if reply.status == 200:
        return
    error = dict_of(reply.content.get("error"))
    code = error.get("code") if isinstance(error.get("code"), int) else None
    details = text_of(dict_of(error.get("error_data")).get("details"))
    told = f"{error.get('message', reply.status)} {details}".strip()[:300]
    if reply.status == 429 or code in _PATIENCE or code in patience:
        raise TryLater(f"{name} asks for patience: {told}", delay=reply.delay)
    if _PROOF in text_of(error.get("message")):
        raise CredentialsWrong(
            f"{name} does not take the proof of the app's secret: {told}", hint="token and app_secret are of two apps"
        )
    # Of a service's own code 403 may be about one recipient, such as one in a country that it does not serve.
    forbidden = reply.status == 403 and (code is None or code < _OWN)
    if reply.status == 401 or forbidden or code in _CREDENTIALS or code in credentials:
        raise CredentialsWrong(
            f"{name} does not serve the account: {told}", hint="its app's dashboard shows the token and the account"
        )
    raise MessageRejected(f"{name} refuses the message: {told}")
