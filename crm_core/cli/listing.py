"""Groups of commands of which a bare name lists: `crm users` is `crm users list`."""

from __future__ import annotations

import click


class ListingGroup(click.Group):
    """A group that lists when no command is named; options alone are those of the list."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the missing name in, but for those who ask for help."""
        named = any(arg in self.commands or arg == "--help" for arg in args)
        if not named and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)
