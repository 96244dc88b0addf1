"""A day at the bureau: `python app.py` opens the workspace beside it, works in it, and prints what came of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from crm_core import CRM, CrmError, Customer, Deal, Interaction, Money, User

HERE = Path(__file__).parent


def main(workspace: Path = HERE) -> None:
    """Work through one order, one mistake and one complaint."""
    with CRM.open(workspace) as crm:
        ani = crm.users.add(User(name="Անի Պետրոսյան", email="ani@example.org"))
        publisher = crm.customers.add(
            Customer(name="نشر البرز", kind="organisation", owner_id=ani.id).with_fields(
                sector="literature", credit_limit=Money("5000", "EUR")
            ),
            email="office@example.com",
        )
        novel = crm.deals.add(
            Deal(customer_id=publisher.id, title="A novel", owner_id=ani.id, opened_at=date(2025, 3, 3)).with_fields(
                languages="hy-fa", words=82_000
            )
        )

        # An order without a price is refused by before_deals_change; nothing was written.
        try:
            crm.deals.move(novel, "won")
        except CrmError as error:
            print(f"refused: {error.message}")
        priced = crm.deals.edit(novel.evolve(amount=Money("2400000", "AMD")))

        # The win writes its sale in the same transaction; on_deals_changed adds the follow-up after it.
        crm.deals.move(priced, "won", at=date(2025, 9, 1))
        for note in crm.interactions.find('direction = "internal"'):
            print(f"to do: {note.subject}")

        # A complaint becomes the customer's next step.
        crm.interactions.add(
            Interaction(customer_id=publisher.id, kind="call", topic="complaint", subject="Chapter 3 is missing")
        )
        print(f"next step: {crm.customers.get(publisher.id).next_step}")

        # Filters know the bureau's own fields; amounts in dram are counted in euros by choose_exchange_rate.
        publishers = crm.customers.count('sector = "literature"')
        large = crm.deals.find('languages = "hy-fa" and words > 50000', sort="-words")
        print(f"in literature: {publishers}; large orders: {', '.join(deal.title for deal in large)}")
        rate = crm.exchange_rate("AMD", "EUR", date(2025, 9, 1))
        print(f"worth: {float(rate * 2_400_000) if rate else 'unknown'} EUR")

        # What was done, newest first, and one mistake taken back.
        crm.customers.edit(crm.customers.get(publisher.id).evolve(country="IR", city="Tehran"))
        mistake = crm.ledger.operations(limit=1)[0]
        report = crm.ledger.undo(mistake.id)
        print(f"undone: {mistake.label}, {report.reversed}")
        print(f"pipelines: {', '.join(crm.pipelines)}")


if __name__ == "__main__":
    main()
