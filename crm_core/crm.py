"""The CRM: opens a workspace (settings, plugins, storage) and hands out the services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from crm_core.errors import NotFound, UsageError
from crm_core.events import ExchangeRateWanted, OriginKind
from crm_core.extend import DataMigration, Storage
from crm_core.host import Host
from crm_core.ledger.chain import Chain
from crm_core.ledger.delivery import Delivery
from crm_core.ledger.erasure_log import ErasureLog
from crm_core.ledger.erasures import Erased, pending_in
from crm_core.ledger.evolution import UpgradeReport, merged_manifest, prepare, upgrade
from crm_core.ledger.facade import Ledger
from crm_core.ledger.history import History
from crm_core.ledger.session import Session
from crm_core.ledger.tables import LEDGER_TABLES
from crm_core.ledger.withdrawals import left_by_restore
from crm_core.ledger.work import Operation, Transaction, UnitOfWork
from crm_core.opening import open_storage, scheme_of, upgrade_needed
from crm_core.records import TOPICS, Consent, Record
from crm_core.services.contact_keys import ContactKeys
from crm_core.services.customers import ContactPointService, CustomerService, RelationService
from crm_core.services.deals import DealService, SaleService
from crm_core.services.externals import ExternalIdService
from crm_core.services.interactions import InteractionService
from crm_core.services.people import TeamService, UserService
from crm_core.services.records import RecordService
from crm_core.services.references import References
from crm_core.services.workspace import calendar_of, pipelines_of, registry_of, require_known_currencies
from crm_core.settings import (
    ScratchFolder,
    Settings,
    add_to_settings,
    extended_settings,
    load_settings,
    no_file,
    settings_for_url,
)
from crm_core.values import Clock, SystemClock

if TYPE_CHECKING:
    from sqlalchemy import CompoundSelect, Select

    from crm_core.extend import Outbox
    from crm_core.ledger.provenance import Provenance
    from crm_core.ledger.undo import Undo
    from crm_core.query.tables import Tables
    from crm_core.services.channels import ChannelService
    from crm_core.services.handover import HandoverReport
    from crm_core.services.jobs import JobService
    from crm_core.services.metrics import MetricService
    from crm_core.services.privacy import PrivacyService
    from crm_core.services.segments import SegmentService

    Statement = Select[Any] | CompoundSelect[Any]

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class _Over(Exception):
    """Ends a rehearsal."""


class CRM:
    """One open CRM: records through its services, numbers through `metrics` and `segments`, the past through `ledger`.

    May be shared by threads. Several may be open in one process, each with its own plugins.
    """

    def __init__(self, settings: Settings, host: Host, storage: Storage, clock: Clock, user: str | None) -> None:
        self.settings = settings
        self.host = host
        self.storage = storage
        self.clock = clock
        self._user = user if user is not None else settings.user
        self._named = user is not None
        self.is_new = False
        """Whether the storage held nothing, not even tables, when it was opened."""
        self.erased_again = 0
        """How many persons were erased again when it was opened, because a restored backup had brought them back."""
        self.withdrawn_again = 0
        """How many consents were withdrawn again when it was opened, because a restored backup did not know of that."""
        self._unsettled: list[Erased] = []
        """What the last look could not erase again; see `PrivacyService.unsettled`."""
        self._known_user: int | None = None
        self.unknown_user = ""
        """The name that the settings give of who is at work, once something was asked of it that no user has."""
        self._in_snapshot: ContextVar[bool] = ContextVar("in_snapshot", default=False)
        self._chain = Chain(settings)
        self._work = UnitOfWork(storage, self._chain, clock, lambda: self.user_id, self._deliver)
        self._assemble()

    @classmethod
    def open(
        cls,
        url_or_dir: str | Path = ".",
        *,
        plugins: Sequence[object] = (),
        user: str | None = None,
        clock: Clock | None = None,
        upgrade: bool = True,
    ) -> CRM:
        """Open a workspace directory with its `crm.toml`, or a storage URL such as `sqlite:///team.db` or `memory:`.

        Args:
            url_or_dir: where the data is; a new embedded database is created.
            plugins: objects with hook implementations, beside the installed plugins.
            user: who is at work: a name, e-mail or id of a user; needed only for what records an actor.
            clock: what "now" is, for metrics, segments and new records.
            upgrade: whether an older embedded database is brought up to date; False refuses it.

        Raises:
            SettingsError: `crm.toml` is missing or not understood.
            UnknownStorage: no installed plugin serves the URL's scheme.
            StorageError: the storage cannot be opened; the subclasses say why.
        """
        given = str(url_or_dir)
        is_url = isinstance(url_or_dir, str) and ":" in given[2:] and not Path(given).is_dir()
        settings = settings_for_url(given) if is_url else load_settings(given)
        host = Host.open(settings, plugins)
        scheme = scheme_of(host, settings.storage_url)
        storage = open_storage(scheme, settings)
        try:
            crm = cls(settings, host, storage, clock or SystemClock(), user)
            crm._make_ready(automatic=upgrade and (scheme is None or scheme.embedded))
        except BaseException:
            storage.close()
            raise
        return crm

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the storage; an open transaction is rolled back."""
        self.storage.close()

    # Writing

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One atomic chunk: what is written inside is stored together or not at all."""
        return self.session.work.transaction()

    def retried(self, action: Callable[[], T]) -> T:
        """Do what writes in one transaction, again when that had to give way to another one (`StorageConflict`).

        A lone write of a service does so by itself; a `transaction()` of several is repeated by who can repeat it.
        """
        return self.session.work.retried(action)

    def operation(
        self,
        label: str,
        *,
        kind: OriginKind | None = None,
        detail: Mapping[str, Any] | None = None,
        recorded: bool = False,
    ) -> AbstractContextManager[Operation]:
        """Group transactions, so that the log shows them as one and one undo takes them back.

        Inside another operation it is part of that one. `recorded=True` writes the operation down before its first
        transaction, so that one killed at once can be resumed.

        Args:
            label: what the log calls it.
            kind: where it comes from: "user" unless a plugin's `on_*` hook is at work ("rule"), or it is said here.
            detail: what else to keep with it, as JSON.
            recorded: see above.

        Raises:
            UsageError: it is of another kind than the operation or transaction around it.
        """
        return self.session.work.operation(label, kind=kind, detail=detail, recorded=recorded)

    def records(self, kind: type[R] | str) -> RecordService[R]:
        """Return the service of a record type, given by its class or its name."""
        name = (self.registry.named(kind) if isinstance(kind, str) else self.registry.by_class(kind)).name
        return cast("RecordService[R]", self._services[name])

    def resolve(self, type_name: str, typed: str) -> int:
        """Return the id of the record a person means: an id, `system:external`, an e-mail, a phone, an ending, a name.

        Raises:
            NotFound: nothing matches.
            AmbiguousReference: several records match; the message lists them.
        """
        return self._references.resolve(type_name, typed)

    def reassign(
        self, givers: Sequence[int], taker: int, *, where: str | None = None, dry_run: bool = False
    ) -> HandoverReport:
        """Hand work over between users, as one operation that can be undone: by id, from some to one.

        Over go the customers they own, their open deals, and what waits for their answer: incoming interactions they
        took, and those that a plugin's field assigns to them. Closed work keeps its owner.

        Args:
            givers: whose work it was.
            taker: who has it from then on.
            where: a filter of customers; only these and what is theirs go over.
            dry_run: count only.

        Raises:
            UsageError: the taker is inactive or one of the givers, or the filter is not understood.
            NotFound: there is no such user.
            Vetoed: a plugin refuses a change; the chunks before it stay, and one undo takes them back.
        """
        from crm_core.services.handover import Handover

        return Handover(self.session, self.records, givers, taker, where).run(dry_run=dry_run)

    @property
    def user_id(self) -> int | None:
        """Who is at work, None when nobody was named, and while there is no user yet.

        A name that the settings give may wait for its user: an import brings others first, and nobody could take that
        back or add the user if it were refused.

        Raises:
            NotFound: the user that was named when this CRM was opened does not exist.
        """
        if self._user is None:
            return None
        if self._known_user is None:
            try:
                self._known_user = self._references.resolve("user", self._user)
            except NotFound:
                if self.users.count():
                    if self._named:
                        raise
                    self.unknown_user = self._user
            else:
                self.unknown_user = ""
        return self._known_user

    # Asking

    def run(self, select: Statement) -> list[tuple[Any, ...]]:
        """Run an analytic select over `tables` where the data is; for a storage without SQL, on the in-memory engine.

        Raises:
            StorageError: the select uses what engines disagree on; the message names it.
        """
        from crm_core.query.guard import require_closed

        require_closed(select)
        if "execute" in self.storage.capabilities:
            return self.storage.execute(cast("Select[Any]", select))
        from crm_core.query.memory import run_in_memory

        token = None if self.session.work.current is not None else self.session.history.head()
        return run_in_memory(select, self.storage, token=token)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads inside see one state of the data."""
        if self.session.work.current is not None or self._in_snapshot.get():
            yield
            return
        self.storage.begin(write=False)
        token = self._in_snapshot.set(True)
        try:
            yield
        finally:
            self._in_snapshot.reset(token)
            self.storage.rollback()

    @cached_property
    def tables(self) -> Tables:
        """The tables of every record type, for selects: `crm.tables.deals.c.customer_id`."""
        from crm_core.query.tables import Tables

        return Tables(self.registry)

    def exchange_rate(self, base: str, quote: str, on: date) -> Fraction | None:
        """Return how many units of `quote` one unit of `base` was worth on a day; None when nobody knows.

        Plugins are asked first (`choose_exchange_rate`), then the `[rates]` of `crm.toml`: each
        currency has the rate of the latest day, on or before this one, that names it.
        """
        if base == quote:
            return Fraction(1)
        if self.host.implements("choose_exchange_rate"):
            answer = self.host.first("choose_exchange_rate", ExchangeRateWanted(base=base, quote=quote, on=on))
            if answer is not None:
                return Fraction(cast(Decimal, answer))
        worth, price = self._latest_rate(base, on), self._latest_rate(quote, on)
        return None if worth is None or price is None else Fraction(worth) / Fraction(price)

    def _latest_rate(self, currency: str, on: date) -> Decimal | None:
        """Return the rate of a currency on a day: the latest that names it, since a day may name only some."""
        if currency == self.settings.reporting_currency:
            return Decimal(1)
        rates = self.settings.rates
        days = [day for day, named in rates.items() if day <= on and currency in named]
        return rates[max(days)][currency] if days else None

    @cached_property
    def channels(self) -> ChannelService:
        """The accounts of channels: `crm.channels.open("support")`."""
        from crm_core.services.channels import ChannelService

        return ChannelService(self.settings, self.host)

    @cached_property
    def jobs(self) -> JobService:
        """The work that goes on by itself: where it stands, and running what is due."""
        from crm_core.services.jobs import JobService

        return JobService(self)

    def service(self, name: str) -> Any:
        """Return what a plugin does for others, by name: the same object each time.

        Raises:
            NotFound: no plugin at work hands over such a service.
        """
        if name not in self._plugin_services:
            found = {each.item.name: each.item for each in self.host.collect("register_services")}
            if name not in found:
                known = ", ".join(sorted(found)) or "none"
                hint = (
                    f"pip install crm-inbox brings it; there are: {known}"
                    if name == "outbox"
                    else f"there are: {known}"
                )
                raise NotFound(f"no plugin at work does the service {name!r}", hint=hint)
            self._plugin_services[name] = found[name].open(self)
        return self._plugin_services[name]

    @property
    def outbox(self) -> Outbox:
        """How messages leave: `crm.outbox.send("Your order left.", customer=sara.id)`; of crm-inbox.

        Raises:
            NotFound: no plugin at work has an outbox.
        """
        return cast("Outbox", self.service("outbox"))

    @cached_property
    def metrics(self) -> MetricService:
        """The numbers: `crm.metrics.compute("win_rate", period="2017-Q2", by="owner")`."""
        from crm_core.services.metrics import MetricService

        return MetricService(self)

    @property
    def privacy(self) -> PrivacyService:
        """What is known of a person, to be handed over or erased: `crm.privacy.export(customer.id)`."""
        from crm_core.services.privacy import PrivacyService

        return PrivacyService(self.session, ErasureLog(self.settings.directory))

    @cached_property
    def segments(self) -> SegmentService:
        """The groups: `crm.segments.run("abc")`."""
        from crm_core.services.segments import SegmentService

        return SegmentService(self)

    @contextmanager
    def rehearsal(
        self,
        kind: OriginKind | None = None,
        *,
        fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType({}),
        pipelines: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> Iterator[CRM]:
        """Yield a CRM on which writes are tried for real: all of them are gone at the end, and nothing is delivered.

        It is a private copy where the storage can be copied (capability `copy`), so others work on meanwhile; else it
        is one transaction of this CRM, or, with own fields and pipelines to be added first, an empty CRM in memory.

        Args:
            kind: where the writes come from, as in `operation`.
            fields: own fields that the rehearsal has besides, by record type and name.
            pipelines: pipelines that it has besides.
        """
        with ScratchFolder("rehearsal") as folder:
            settings = extended_settings(self.settings, folder, fields=fields, pipelines=pipelines)
            trial, user = self, self._user if self._named else None
            if "copy" in self.storage.capabilities:
                trial = CRM(settings, self.host, self.storage.copied(folder), self.clock, user)
            elif settings is not self.settings:
                trial = CRM(settings, self.host, open_storage(None, settings), self.clock, user)
            try:
                if trial is not self:
                    trial._make_ready(automatic=True)
                with trial.operation("rehearsal", kind=kind), trial.transaction() if trial is self else nullcontext():
                    yield trial
                    raise _Over
            except _Over:
                pass
            finally:
                if trial is not self:
                    trial.close()

    # The workspace

    def extend_workspace(
        self,
        *,
        fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType({}),
        pipelines: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> list[str]:
        """Add the team's own fields and pipelines to `crm.toml` and to this CRM; returns what was added.

        Raises:
            SettingsError: one of them is there already and says something else, or the CRM was opened by a URL.
        """
        if self.settings.directory is None:
            raise no_file()
        if self._work.current is not None:
            raise UsageError("a workspace cannot be extended inside a transaction", hint="extend it before")
        added = add_to_settings(self.settings.directory, fields=fields, pipelines=pipelines)
        if added:
            self.settings = load_settings(self.settings.directory)
            self._assemble()
            self._make_ready(automatic=True)
        return added

    def upgrade(self, *, dry_run: bool = False) -> UpgradeReport:
        """Bring the storage's schema up to what kernel, plugins and `crm.toml` declare; a dry run only reports."""
        return upgrade(self.storage, self.registry.manifest(LEDGER_TABLES), self._migrations(), dry_run=dry_run)

    def _migrations(self) -> list[DataMigration]:
        return [found.item for found in self.host.collect("register_data_migrations")]

    def _make_ready(self, *, automatic: bool) -> None:
        wanted = self.registry.manifest(LEDGER_TABLES)
        stored = self.storage.schema()
        self.is_new = self.is_new or stored is None
        if prepare(self.storage, stored, wanted):
            missing = self.upgrade(dry_run=True)
            if self.storage.schema() is not None and missing.needed and not automatic:
                raise upgrade_needed(missing)
            self.upgrade()
            stored = self.storage.schema()
        self._work.stored = merged_manifest(stored, wanted).tables
        if self.ledger.delivery.listened():
            self.ledger.delivery.start_new()
        self.finish_restore()

    def finish_restore(self) -> None:
        """Do what is left of a restore that somebody else began, if there is one: opening does it, and `crm run`.

        Nobody is to see who was erased after the backup was made, nor to write to who withdrew a consent.
        """
        erasures, consents = left_by_restore(self.storage)
        if erasures and erasures != self._unsettled:
            self.erased_again += self.privacy.erase_pending()
            self._unsettled = pending_in(self.storage)
        if consents:
            from crm_core.services.withdrawing import withdraw_again

            self.withdrawn_again += withdraw_again(self.storage, self._work, self.records(Consent))

    def _assemble(self) -> None:
        """Build everything that follows from settings and plugins."""
        for name in ("tables", "channels", "jobs", "metrics", "segments"):
            self.__dict__.pop(name, None)
        self._plugin_services: dict[str, Any] = {}
        require_known_currencies(self.settings)
        self.zone = self.settings.zone
        self.registry = registry_of(self.settings, self.host)
        self.calendar = calendar_of(self.settings, self.host)
        self.pipelines = pipelines_of(self.settings, self.host)
        self._references = References(self.storage, self.registry, ContactKeys(self.host, self.settings.policies))
        work = self._work
        self.session = Session(
            storage=self.storage,
            registry=self.registry,
            host=self.host,
            work=work,
            history=History(self.storage),
            clock=self.clock,
            zone=self.zone,
            currency=self.settings.currency,
            pipelines=self.pipelines,
            default_pipeline=next(iter(self.pipelines.values())),
            topics=frozenset(TOPICS) | {found.item.name for found in self.host.collect("register_topics")},
            policies=self.settings.policies,
            resolve=self._references.resolve,
        )
        self._assemble_services()
        delivery = Delivery(self.storage, self.registry, self.host, work, self.session.history, SystemClock(), self)
        self.ledger = Ledger(
            work, self.session.history, self._undo, delivery, self.storage, self._chain, self._provenance
        )

    def _undo(self) -> Undo:
        from crm_core.ledger.undo import Undo  # what few commands need

        normalise = {name: service.derived for name, service in self._services.items()}
        return Undo(self.storage, self.registry, self._work, self.session.history, normalise)

    def _provenance(self) -> Provenance:
        from crm_core.ledger.provenance import Provenance  # what only an import needs

        return Provenance(self.storage, self.registry, self.session.history)

    def _assemble_services(self) -> None:
        session, types = self.session, self.registry.types
        plain = {name: RecordService[Any](session, kind) for name, kind in types.items()}
        self.teams = TeamService(session, types["team"])
        self.users = UserService(session, types["user"])
        self.contact_points = ContactPointService(session, types["contact_point"])
        self.customers = CustomerService(session, types["customer"], self.contact_points)
        self.relations = RelationService(session, types["relation"])
        self.interactions = InteractionService(session, types["interaction"])
        self.sales = SaleService(session, types["sale"])
        self.deals = DealService(session, types["deal"], self.sales, plain["stage_change"], plain["deal_change"])
        self.external_ids = ExternalIdService(session, types["external_id"])
        self._services: dict[str, RecordService[Any]] = {
            **plain,
            "team": self.teams,
            "user": self.users,
            "contact_point": self.contact_points,
            "customer": self.customers,
            "relation": self.relations,
            "interaction": self.interactions,
            "sale": self.sales,
            "deal": self.deals,
            "external_id": self.external_ids,
        }

    def _deliver(self, operation: Operation) -> None:
        if self.ledger.delivery.listened():
            self.ledger.deliver()
