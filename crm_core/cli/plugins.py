"""`crm plugins`: what is installed, whether it works, and what it costs; listing imports no plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from crm_core.cli.app import lenient_settings
from crm_core.console import MISSING, Column, emit, examples, heading, pairs, plural, say, table, workspace
from crm_core.errors import NotFound

if TYPE_CHECKING:
    from crm_core.host import Host, PluginInfo


@click.group()
def plugins() -> None:
    """See what is installed beside the kernel."""


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
    """Explain a plugin: what it is, what it hooks into, why it does not run."""
    host = _host()
    _known(host, (name,))
    found = host.explain(name)

    def show() -> None:
        pairs(found.facts)
        if found.traceback:
            heading("The last failure")
            say(found.traceback.rstrip())

    emit({**_info_json(found.info), "facts": [list(fact) for fact in found.facts], "traceback": found.traceback}, show)


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


def _host() -> Host:
    from crm_core.host import Host

    return Host.open(lenient_settings(), tolerant=True)


def _known(host: Host, names: tuple[str, ...]) -> list[str]:
    installed = [info.name for info in host.plugins()]
    for name in names:
        if name not in installed:
            raise NotFound(
                f"there is no plugin {name!r}",
                hint=f"installed: {', '.join(installed) or 'none'}; pip install crm-{name} if it is one of those",
            )
    return list(names)


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
