"""What crm-contacts brings to a CRM: keys of contact points, judgements on duplicates, and their command."""

from __future__ import annotations

from collections.abc import Iterable

from crm_contacts.records import DistinctPair
from crm_core import Record, hookimpl
from crm_core.events import ContactKeyWanted
from crm_core.extend import Command


class ContactsPlugin:
    """Phone numbers and e-mail addresses in one form, and customers who are there twice."""

    @hookimpl
    def choose_contact_key(self, event: ContactKeyWanted) -> str | None:
        """Match numbers in their international form, and e-mail addresses as the rules say."""
        from crm_contacts.keys import chosen_key

        return chosen_key(event)

    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        """Remember who was judged not to be the same."""
        return [DistinctPair]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add `crm customers duplicates`."""
        return [
            Command(
                name="customers duplicates",
                help="Customers who are there twice: find, judge, merge by rule.",
                target="crm_contacts.commands:duplicates",
            )
        ]


plugin = ContactsPlugin()
