"""Words by which people end messages, or have some again, at services that do not say so by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs

from crm_core.extend import IncomingMessage
from crm_core.values import text_key

STOP_WORDS: Final = (
    "stop", "stop all", "unsubscribe", "opt out",
    "stopp", "abmelden", "abbestellen", "austragen",
    "arrêt", "arret", "arrêter", "arreter", "désabonner", "desabonner", "se désabonner", "désinscription",
    "alto", "parar", "baja", "cancelar suscripción", "disiscrivimi", "dur",
    "стоп", "отписаться", "отписка",
    "لغو", "لغو اشتراک", "لغو عضویت", "لغو پیامک", "توقف", "إيقاف", "ايقاف", "إلغاء الاشتراك", "الغاء الاشتراك",
    "ստոպ", "կանգ", "դադարեցնել", "դադարեցրու", "դադարեցրեք", "չեղարկել բաժանորդագրությունը",
)  # fmt: skip
"""A message that is one of these, as a whole and however written, ends messages."""
START_WORDS: Final = (
    "start", "unstop", "subscribe", "opt in", "anmelden", "abonnieren", "s'abonner", "reprendre",
    "alta", "старт", "подписаться", "شروع", "عضویت", "اشتراک", "ابدأ", "اشترك", "սկսել", "բաժանորդագրվել",
)  # fmt: skip
"""A message that is one of these gives back what a word of the others ended."""


_LONGEST: Final = 100


@attrs.frozen(kw_only=True)
class WishSettings:
    """Keys of each account: the words by which people end its messages, or have some again; [] for none."""

    stop_words: tuple[str, ...] = STOP_WORDS
    start_words: tuple[str, ...] = START_WORDS


def wish_of(text: str, settings: WishSettings) -> Literal["", "stop", "start"]:
    """Return what a message wishes: only one that is such a word as a whole wishes anything.

    >>> wish_of(" Stop! ", WishSettings())
    'stop'
    >>> wish_of("Don't stop", WishSettings())
    ''
    """
    said = _plain(text)
    for wish, words in (("stop", settings.stop_words), ("start", settings.start_words)):
        if said and said in map(_plain, words):
            return "stop" if wish == "stop" else "start"
    return ""


def heeded(messages: Sequence[IncomingMessage], settings: WishSettings) -> list[IncomingMessage]:
    """Return messages with what they wish; what somebody says in a group is not said to us."""
    return [
        attrs.evolve(each, wish=wish)
        if each.direction == "in" and _alone(each) and (wish := each.wish or wish_of(each.text, settings))
        else each
        for each in messages
    ]


def _alone(message: IncomingMessage) -> bool:
    return message.thread.lstrip("+") == message.sender.value.lstrip("+")


def _plain(text: str) -> str:
    """Fold a short text as names are, to its letters and digits; nothing of a long one."""
    return "".join(filter(str.isalnum, text_key(text))) if len(text) <= _LONGEST else ""
