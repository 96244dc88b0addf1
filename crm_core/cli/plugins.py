"""`crm plugins`: what is installed, whether it works, what it costs, how it goes and comes; a list imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from crm_core.cli.app import lenient_settings
from crm_core.cli.standing import standing_json, standing_table
from crm_core.console import (
    MISSING,
    Column,
    confirm,
    emit,
    examples,
    heading,
    pairs,
    plural,
    say,
    session,
    table,
    workspace,
    workspace_directory,
    workspace_place,
    yes_option,
)
from crm_core.errors import CrmError, NotFound

if TYPE_CHECKING:
    from crm_core.host import Host, PluginInfo
    from crm_core.ledger.purge import PurgeReport
    from crm_core.ledger.standing import Standing
    from crm_core.upkeep import DetachReport, Start


@click.group()
def plugins() -> None:
    """See what is installed beside the kernel, and let plugins go and come."""


@plugins.command("list", epilog=examples("crm plugins list", "crm plugins list --json"))
def list_() -> None:
    """List the plugins with their state; none is imported."""
    found = _host().plugins()

    def show() -> None:
        rows = [[p.name, p.distribution, p.version or MISSING, p.status, p.reason or _offer(p)] for p in found]
        table(["plugin", "distribution", "version", "status", Column("offers, or what is wrong", fit="wrap")], rows)
        if not found:
            say('No plugin is installed; pip install "crm-core[standard]" brings the bundled ones.')

    emit([_info_json(info) for info in found], show)


@plugins.command(epilog=examples("crm plugins check", "crm plugins check kpi"))
@click.argument("names", nargs=-1, metavar="[PLUGIN]...")
@click.pass_context
def check(context: click.Context, names: tuple[str, ...]) -> None:
    """Import the plugins and check them against the contract; the exit code is 1 when one is broken."""
    host = _host()
    wanted = _known(host, names)
    checked = [info for info in host.check() if info.name in wanted or not wanted]
    broken = [info for info in checked if info.status in ("broken", "incompatible")]

    def show() -> None:
        rows = [[info.name, info.title, info.status, info.reason or _offer(info)] for info in checked]
        table(["plugin", "distribution", "status", Column("what is wrong", fit="wrap")], rows)
        said = f"{plural(len(broken), 'plugin')} of {len(checked)} cannot be used" if broken else "all is well"
        say(said)

    emit([_info_json(info) for info in checked], show)
    if broken:
        context.exit(1)


@plugins.command(epilog=examples("crm plugins explain kpi"))
@click.argument("name", metavar="PLUGIN")
def explain(name: str) -> None:
    """Explain a plugin: what it is, what it hooks into, where its deliveries stand, why it does not run."""
    host = _host()
    (wanted,) = _known(host, (name,))
    found = host.explain(wanted)
    standings = _standings(wanted)

    def show() -> None:
        pairs(found.facts)
        if standings:
            heading("Deliveries")
            standing_table(standings)
        if found.traceback:
            heading("The last failure")
            say(found.traceback.rstrip())

    data = {
        **_info_json(found.info),
        "facts": [list(fact) for fact in found.facts],
        "deliveries": [standing_json(one) for one in standings],
        "traceback": found.traceback,
    }
    emit(data, show)


@plugins.command(epilog=examples("crm plugins retry loyalty", "crm plugins retry loyalty --forget"))
@click.argument("name", metavar="PLUGIN")
@click.option("--forget", is_flag=True, help="Do not tell it: take what was given up on off the list, for good.")
@yes_option
@click.pass_context
def retry(context: click.Context, name: str, forget: bool, yes: bool) -> None:
    """Tell a plugin now what was given up on; what fails again stays on the list, and the exit code is 1.

    It comes after what the plugin was told meanwhile, under the same positions as before. A call may take as long as in
    crm run.
    """
    if forget:
        confirm(f"Never tell {name} what was given up on?", yes=yes)
        with workspace() as crm:
            count = crm.ledger.delivery.forget(name)
        emit({"forgotten": count}, lambda: say(f"{plural(count, 'transaction')} forgotten"))
        return
    from crm_core.ledger.telling import Failure
    from crm_core.upkeep import Workers

    failures: list[Failure] = []
    crew = Workers(
        workspace_place(),
        user=session().user,
        once=True,
        retry=name,
        tell=lambda news: failures.append(news) if isinstance(news, Failure) else None,
    )
    report = crew.run()

    def show() -> None:
        say(f"{plural(report.delivered, 'transaction')} told, {plural(len(failures), 'failure')}")
        for one in failures:
            say(f"position {one.position:,}: {one.error}")

    emit({"delivered": report.delivered, "failures": [attrs.asdict(one) for one in failures]}, show)
    if failures:
        context.exit(1)


@plugins.command(epilog=examples("crm plugins time"))
def time() -> None:
    """Open the workspace and show what each plugin cost: its import, its calls, their time."""
    with workspace() as crm:
        found = crm.host.plugins()

    def show() -> None:
        rows = [
            [
                p.name,
                f"{p.import_seconds * 1000:,.1f} ms",
                f"{p.calls:,}",
                f"{p.seconds * 1000:,.1f} ms",
                f"{p.failures:,}",
            ]
            for p in found
        ]
        table(
            ["plugin", *(Column(title, right=True) for title in ("import", "calls", "time in hooks", "failures"))], rows
        )

    emit([_info_json(info) for info in found], show)


@plugins.command(epilog=examples("crm plugins manifest crm_kpi", "crm plugins manifest --write crm_kpi"))
@click.argument("package")
@click.option("--write", is_flag=True, help="Write it anew from the code.")
@click.pass_context
def manifest(context: click.Context, package: str, write: bool) -> None:
    """Compare crm-plugin.toml of a package with its code, or write it."""
    from crm_core.host import manifest as manifests

    if write:
        written = manifests.write(package)
        emit({"written": str(written)}, lambda: say(f"wrote {written}"))
        return
    differences = manifests.check(package)

    def show() -> None:
        for difference in differences:
            say(difference)
        say(
            "run it again with --write to bring it up to date"
            if differences
            else "the manifest says what the code does"
        )

    emit({"package": package, "differences": differences}, show)
    if differences:
        context.exit(1)


@plugins.command(epilog=examples("crm plugins detach loyalty"))
@click.argument("name", metavar="PLUGIN")
def detach(name: str) -> None:
    """Switch a plugin off in crm.toml; all that it stored stays, and is there again when it comes back."""
    from crm_core.upkeep import detach as switch_off

    report = switch_off(workspace_directory(), name)

    def show() -> None:
        say(f"detached {report.plugin}" if report.changed else f"{report.plugin} was detached already")
        _show_data("stays", report.data)
        say(f"crm plugins attach {report.plugin} brings it back; crm plugins purge {report.plugin} removes its data")

    emit(_lifecycle_json(report), show)


@plugins.command(epilog=examples("crm plugins attach loyalty", "crm plugins attach loyalty --from gap"))
@click.argument("name", metavar="PLUGIN")
@click.option(
    "--from",
    "start",
    type=click.Choice(["head", "gap"]),
    help="What happened while it was away: gap tells it now, head goes on from here.",
)
def attach(name: str, start: Start | None) -> None:
    """Switch a detached plugin on again; it finds what it stored before."""
    from crm_core.upkeep import attach as switch_on

    report = switch_on(workspace_directory(), name, start=start)

    def show() -> None:
        say(f"attached {report.plugin}" if report.changed else f"{report.plugin} was not detached")
        _show_data("is there again", report.data)
        if report.waiting:
            say(f"it is told of {plural(report.waiting, 'transaction')} with the next delivery")

    emit(_lifecycle_json(report), show)


@plugins.command(epilog=examples("crm plugins purge loyalty --dry-run", "crm plugins purge loyalty --yes"))
@click.argument("name", metavar="PLUGIN")
@click.option("--dry-run", is_flag=True, help="Count what would go, and remove nothing.")
@yes_option
def purge(name: str, dry_run: bool, yes: bool) -> None:
    """Remove all that a detached or uninstalled plugin stored: its tables, its fields, its place in the queue.

    This cannot be undone: make a backup first.
    """
    from crm_core.upkeep import purge_plugin

    planned = purge_plugin(workspace_place(), name, dry_run=True)
    if not dry_run:
        lost = sum(planned.tables.values()) + sum(planned.columns.values())
        confirm(f"Remove all data of {planned.owner} for good ({plural(lost, 'row')} and values)?", yes=yes)
        planned = purge_plugin(workspace_place(), name)
    emit(attrs.asdict(planned), lambda: _show_data("would go" if dry_run else "is gone", planned))


def _show_data(fate: str, data: PurgeReport | None) -> None:
    if data is None:
        say("nothing of it is stored")
        return
    rows = [[name, plural(count, "row")] for name, count in data.tables.items()]
    rows += [[name, plural(count, "value")] for name, count in data.columns.items()]
    rows += [["delivery", plural(data.cursors, "cursor")]] if data.cursors else []
    table([f"what {fate}", Column("how much", right=True)], rows)


def _lifecycle_json(report: DetachReport) -> dict[str, Any]:
    data = None if report.data is None else attrs.asdict(report.data)
    return {"plugin": report.plugin, "changed": report.changed, "data": data, "waiting": report.waiting}


def _host() -> Host:
    from crm_core.host import Host

    return Host.open(lenient_settings(), tolerant=True)


def _standings(name: str) -> list[Standing]:
    """Return where the deliveries of a plugin stand; none outside of a workspace, or where it cannot be opened."""
    from crm_core.upkeep import standings_of

    try:
        return [one for one in standings_of(workspace_place()) if one.plugin == name]
    except CrmError:
        return []


def _known(host: Host, names: tuple[str, ...]) -> list[str]:
    """Return the names of plugins that are installed, each given as such or as its distribution's."""
    infos = host.plugins()
    called = {info.distribution: info.name for info in infos} | {info.name: info.name for info in infos}
    for name in names:
        if name not in called:
            installed = ", ".join(info.name for info in infos) or "none"
            raise NotFound(
                f"there is no plugin {name!r}",
                hint=f"installed: {installed}; pip install crm-{name.removeprefix('crm-')} if it is one of those",
            )
    return [called[name] for name in names]


def _offer(info: PluginInfo) -> str:
    return ", ".join([*(f"crm {name}" for name in info.commands), *info.hooks])


def _info_json(info: PluginInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "status": info.status,
        "reason": info.reason,
        "hint": info.hint,
        "hooks": list(info.hooks),
        "commands": list(info.commands),
        "loaded": info.loaded,
        "import_seconds": info.import_seconds,
        "calls": info.calls,
        "seconds": info.seconds,
        "failures": info.failures,
        "timings": [attrs.asdict(stats) for stats in info.timings],
    }
