"""Webhooks for crm-core: one server for all accounts, signed events, web forms, shop orders.

`Brought` is public API: what a channel of yours returns from `parse` when a request brings more than messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_channel_web.app import HookApp
    from crm_channel_web.brought import Brought
    from crm_channel_web.orders import ShopOrder

__all__ = ["Brought", "HookApp", "ShopOrder"]
__version__ = "0.1.0"

_PLACES = {"Brought": "brought", "HookApp": "app", "ShopOrder": "orders"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'crm_channel_web' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"crm_channel_web.{_PLACES[name]}"), name)
