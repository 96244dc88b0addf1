"""For every hook: an event, the code of a right answer, and the code of a wrong one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from crm_core.events import Change, Changed, ChangedRecord, Changing, ContactKeyWanted, ExchangeRateWanted, Origin
from crm_core.host import CONTRACT, Hook, Host
from crm_core.records import Customer, Deal, Interaction, Sale

RECORDS: dict[str, Any] = {
    "customers": Customer(id=1, name="نرگس Լևոն"),
    "interactions": Interaction(id=2, customer_id=1, channel="email", occurred_at=datetime(2026, 11, 1, tzinfo=UTC)),
    "deals": Deal(id=3, customer_id=1, title="Licence", pipeline="sales", stage="new"),
    "sales": Sale(id=4, customer_id=1, sold_at=date(2026, 11, 1)),
}

ANSWERS: dict[str, str] = {
    "register_segments": "[Segment(name='{name}', label='S', help='', labels=('A',), assign=lambda query: [])]",
    "register_profile_sections": "[ProfileSection(name='{name}', title='P', build=lambda event: [])]",
    "prepare_customers": "[]",
    "before_customers_change": "[Veto(0, 'name', '{name} says no')]",
    "choose_contact_key": "'+491'",
    "on_customers_changed": "None",
    "on_customers_merged": "None",
    "register_channels": (
        "[ChannelType(name='{name}', label='C', address_kind='email', settings=object, open=lambda account: None, "
        "capabilities=frozenset())]"
    ),
    "register_jobs": ("[Job(name='{name}', help='', parts=lambda crm: {{}}, run=lambda run: JobDone())]"),
    "register_services": "[Service(name='{name}', help='', open=lambda crm: None)]",
    "register_topics": "[Topic(name='{name}', label='T')]",
    "before_interactions_change": "[Veto(0, '', '{name} says no')]",
    "on_interactions_changed": "None",
    "register_pipelines": "[Pipeline(name='{name}', stages=(Stage(name='new'),))]",
    "before_deals_change": "[Veto(0, '', '{name} says no')]",
    "on_deals_changed": "None",
    "before_sales_change": "[Veto(0, '', '{name} says no')]",
    "on_sales_changed": "None",
    "register_metrics": (
        "[Metric(name='{name}', label='M', unit='count', kind='flow', formula='', population='', base='deal')]"
    ),
    "register_calendars": "[CalendarSystem(name='{name}', label='C', calendar=None)]",
    "choose_exchange_rate": "Decimal('0.92')",
    "register_report_sections": "[ReportSection(name='{name}', title='R', order=1, build=lambda query: {{}})]",
    "register_storages": "[StorageScheme(name='{name}', schemes=('{name}',), open=lambda url, options: None)]",
    "register_record_types": "[records.record('{name}_thing')(type('Thing', (Record,), {{'__annotations__': {{}}}}))]",
    "register_fields": (
        "[records.extension('{name}', extends=Customer)"
        "(type('Extra', (Extension,), {{'__annotations__': {{'x': 'int'}}, 'x': records.integer('X', default=None)}}))]"
    ),
    "register_data_migrations": (
        "[DataMigration(owner='crm-{name}', from_version='1', to_version='2', table='{name}', columns=(),"
        " change=lambda rows: {{}})]"
    ),
    "register_commands": "[Command(name='{name}', help='h', target='{name}:main')]",
    "register_importers": "[Importer(name='{name}', suffixes=('.x',), open=lambda path, options: None, write=None)]",
    "register_exporters": "[Exporter(name='{name}', suffixes=('.x',), write=lambda path, columns, rows: 0)]",
}
"""The right answer of each hook, as code; `{name}` tells one plugin's from another's."""

HOOKS = list(CONTRACT.values())
EVENT_HOOKS = [hook for hook in HOOKS if hook.parameters]
CALLED_IN_TRANSACTION = [hook for hook in HOOKS if hook.policy in ("derive", "veto")]
ANSWERING_HOOKS = [hook for hook in HOOKS if hook.policy != "deliver"]


def event_of(hook: Hook) -> Any:
    """A new event of a hook, with one change; None for a hook without one."""
    if not hook.parameters:
        return None
    if hook.name == "choose_exchange_rate":
        return ExchangeRateWanted(base="USD", quote="EUR", on=date(2026, 11, 21))
    if hook.name == "choose_contact_key":
        return ContactKeyWanted(kind="phone", value="01", key="01", country="DE", policies={})
    record = next(record for name, record in RECORDS.items() if f"_{name}" in hook.name)
    if hook.policy == "deliver":
        change = ChangedRecord(id=record.id, action="created", record=record, fields={})
        return Changed(changes=(change,), origin=Origin(), position=1, at=datetime(2026, 11, 21, tzinfo=UTC))
    return Changing(changes=(Change(None, record),), origin=Origin())


def right(hook: Hook, name: str) -> str:
    """A method that answers rightly."""
    return method(hook, f"return {ANSWERS[hook.name].format(name=name)}")


def method(hook: Hook, body: str) -> str:
    """A method of a hook with a body of one line."""
    return f"{hook.signature}: {body}"


def call(host: Host, hook: Hook, event: Any) -> Any:
    """Call a hook by its policy; a delivery goes to every subscriber, and returns the errors of those that failed."""
    if hook.policy == "collect":
        return host.collect(hook.name)
    if hook.policy != "deliver":
        return getattr(host, hook.policy)(hook.name, event)
    errors = []
    for subscriber in host.subscribers(hook.name):
        try:
            subscriber.call(event)
        except Exception as error:
            errors.append(error)
    return errors
