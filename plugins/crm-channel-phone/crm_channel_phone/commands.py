"""`crm calls`: listening to exchanges."""

from __future__ import annotations

import logging
import signal
from threading import Event, Thread

import click

from crm_core.console import examples, note, say, workspace
from crm_core.errors import CrmError, SettingsError


@click.group()
def calls() -> None:
    """Listen to exchanges."""


@calls.command(epilog=examples("crm calls listen"))
def listen() -> None:
    """Stay connected to the exchanges of accounts of type phone-ami, until it is ended; crm run takes in the calls."""
    from crm_channel_phone.journal import Journal
    from crm_channel_phone.listening import Listener

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    stopped, threads = Event(), list[Thread]()
    with workspace() as crm:
        for name, account in crm.channels.accounts.items():
            if account.type != "phone-ami":
                continue
            try:
                opened = crm.channels.open(name)
            except CrmError as error:
                note(f"{name} is not listened to: {error.message}")
                continue
            journal = Journal(crm.settings.directory, name)
            listener = Listener(name, opened.settings, journal, opened.redacted)
            threads.append(Thread(target=listener.run, args=(stopped,), name=f"exchange {name}"))
            say(f"listening to the exchange of {name}")
    if not threads:
        raise SettingsError(
            "no account is of an exchange that can be listened to",
            hint='[channels.<name>] with type = "phone-ami" declares one',
        )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    for thread in threads:
        thread.start()
    while not stopped.wait(1.0):
        continue
    for thread in threads:
        thread.join()
