"""What crm-channel-folder hands over."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import ChannelType


class FolderChannelPlugin:
    """One channel."""

    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        """Hand over the channel, to be named by `type = "folder"`."""
        from crm_channel_folder.channel import FolderChannel, FolderSettings

        return [
            ChannelType(
                name="folder",
                label="Folder",
                address_kind="email",
                settings=FolderSettings,
                open=FolderChannel,
                capabilities=frozenset({"send", "poll", "listen", "webhook", "receipts", "attachments", "threads"}),
                help="Messages as JSON files in a folder.",
            )
        ]


plugin = FolderChannelPlugin()
