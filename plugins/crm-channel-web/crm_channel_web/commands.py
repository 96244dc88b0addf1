"""`crm hooks`: serve the webhooks of all accounts, and print the form of one."""

from __future__ import annotations

import logging

import click

from crm_core.console import emit, examples, note, say, table, workspace
from crm_core.errors import SettingsError, UsageError


@click.group()
def hooks() -> None:
    """Serve the webhooks of all accounts."""


@hooks.command(epilog=examples("crm hooks serve", "crm hooks serve --port 8080 --host 0.0.0.0"))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8070, show_default=True, type=click.IntRange(0, 65535), help="0 for any that is free.")
@click.option("--largest", default=1_000_000, show_default=True, type=click.IntRange(1), help="Bytes of a request.")
def serve(host: str, port: int, largest: int) -> None:
    """Take in what services send, until it is ended; the world should reach it through a proxy that speaks HTTPS."""
    import socket

    import uvicorn

    from crm_channel_web.app import PREFIX, HookApp

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    with workspace() as crm:
        app = HookApp(crm, largest=largest)
        for name, reason in app.refused.items():
            note(f"{name} is not served: {reason}")
        if not app.served:
            raise SettingsError(
                "no account has a webhook that can be served",
                hint='[channels.<name>] with type = "webhook" declares one',
            )
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.listen(2048)
        except OSError as error:
            bound.close()
            app.close()
            raise UsageError(f"{host}:{port} cannot be used: {error.strerror}", hint="--port names another") from None
        shown = f"[{host}]" if ":" in host else host
        for name in app.served:
            say(f"http://{shown}:{bound.getsockname()[1]}{PREFIX}{name}")
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False)
        try:
            uvicorn.Server(config).run([bound])
        finally:
            app.close()
            bound.close()


@hooks.command("list", epilog=examples("crm hooks list", "crm hooks list --json"))
def list_() -> None:
    """List the webhooks of the accounts, and why one is not served."""
    from crm_channel_web.app import PREFIX, HookApp

    with workspace() as crm:
        app = HookApp(crm)
        app.close()
        found = [
            {"account": name, "path": f"{PREFIX}{name}", "served": name in app.served, "reason": app.refused.get(name)}
            for name in crm.channels.accounts
            if name in app.served or name in app.refused
        ]
        rows = [[str(each["account"]), str(each["path"]), str(each["reason"] or "served")] for each in found]
        emit(found, lambda: table(["account", "path", "state"], rows))


@hooks.command(epilog=examples("crm hooks form contact --url https://crm.example.org"))
@click.argument("account")
@click.option("--url", required=True, help="Where the world reaches `crm hooks serve`.")
def form(account: str, url: str) -> None:
    """Print the HTML of a web form, to be pasted into a page."""
    from crm_channel_web.app import PREFIX
    from crm_channel_web.forms import settings_of
    from crm_channel_web.snippet import form_html

    if not url.startswith(("https://", "http://")):
        raise UsageError(f"--url: {url!r} is no address of a server", hint="such as https://crm.example.org")
    with workspace() as crm:
        html = form_html(settings_of(crm, account), f"{url.rstrip('/')}{PREFIX}{account}")
        emit({"account": account, "html": html}, lambda: click.echo(html, nl=False))
