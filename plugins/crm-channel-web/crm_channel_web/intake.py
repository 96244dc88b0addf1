"""One account's requests: proved one by one, taken in together, so that a commit serves all that wait for it."""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Final

import attrs

from crm_channel_web.brought import Brought
from crm_core.errors import ConflictError, CrmError, DuplicateKey, RequestRefused, StorageError
from crm_core.extend import Received, WebhookRequest
from crm_inbox import receive

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.testing import OpenChannel

log = logging.getLogger(__name__)
_ATTEMPTS: Final = 3
_TOGETHER: Final = 50
"""Requests of one transaction at most: about as long as a database may be locked for."""

Asked = tuple[WebhookRequest, "Future[Received]"]


class AccountIntake:
    """Takes in what comes to the webhook of an account, on a thread of its own."""

    def __init__(self, crm: CRM, channel: OpenChannel, waiting: int) -> None:
        self._crm = crm
        self._channel = channel
        self._queue: queue.Queue[Asked | None] = queue.Queue(waiting)
        self._thread = Thread(target=self._work, name=f"webhooks of {channel.name}", daemon=True)
        self._thread.start()

    def submit(self, request: WebhookRequest) -> Future[Received]:
        """Have a request taken in; the result is there when it is committed.

        Raises:
            queue.Full: too many wait.
        """
        future: Future[Received] = Future()
        self._queue.put_nowait((request, future))
        return future

    def close(self) -> None:
        """Take in what waits, and end."""
        self._queue.put(None)
        self._thread.join()
        self._channel.close()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            asked, last = [first], False
            while len(asked) < _TOGETHER and not last:
                try:
                    another = self._queue.get_nowait()
                except queue.Empty:
                    break
                asked, last = (asked, True) if another is None else ([*asked, another], False)
            self._take_in([one for one in asked if one[1].set_running_or_notify_cancel()])
            if last:
                return

    def _take_in(self, asked: Sequence[Asked]) -> None:
        proved: list[tuple[Received, Future[Received]]] = []
        for request, future in asked:
            try:
                received = self._channel.parse(request)
            except CrmError as error:
                self._fail(future, error)
            else:
                proved.append((received, future))
        self._store_all(proved)

    def _store_all(self, proved: Sequence[tuple[Received, Future[Received]]]) -> None:
        try:
            self._store([received for received, _ in proved])
        except Exception as error:
            if len(proved) > 1 and not isinstance(error, StorageError):  # one of them is at fault, and stops no other
                for one in proved:
                    self._store_all([one])
                return
            for received, future in proved:
                self._store_otherwise(received, future, error)
        else:
            for received, future in proved:
                future.set_result(received)

    def _store_otherwise(self, received: Received, future: Future[Received], error: Exception) -> None:
        """Store the message that stands for what a rule refuses, so that it waits for a person."""
        instead = received.otherwise if isinstance(received, Brought) else None
        if instead is None or not isinstance(error, CrmError) or isinstance(error, StorageError | ConflictError):
            self._fail(future, error)
            return
        told = attrs.evolve(instead, text=f"{self._channel.redacted(error.message)}\n\n{instead.text}")
        try:
            self._store([Received(messages=[*received.messages, told])])
        except Exception as another:
            self._fail(future, another)
        else:
            future.set_result(received)

    def _store(self, brought: Sequence[Received]) -> None:
        """Store all in one transaction; it is done again when another process stored the same meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._crm.retried(lambda: self._stored(brought))
            except (DuplicateKey, ConflictError):
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _stored(self, brought: Sequence[Received]) -> None:
        messages = [message for each in brought for message in each.messages]
        receipts = [receipt for each in brought for receipt in each.receipts]
        stores = [each.store for each in brought if isinstance(each, Brought) and each.store is not None]
        if not (messages or receipts or stores):
            return
        crm, account = self._crm, self._channel.name
        with crm.operation(f"webhooks {account}", kind="channel"), crm.transaction():
            if messages or receipts:
                receive(crm, account, Received(messages=messages, receipts=receipts))
            for store in stores:
                store(crm, account)

    def _fail(self, future: Future[Received], error: Exception) -> None:
        told = self._channel.redacted(" ".join(f"{error}".split()))
        if isinstance(error, RequestRefused):
            log.warning("%s: a request was refused: %s", self._channel.name, told)
        else:
            log.error("%s: a request was not taken in: %s: %s", self._channel.name, type(error).__name__, told)
        future.set_exception(error)
