"""Secrets by reference: settings say where a password is kept, and nothing that shows settings can show it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.errors import SettingsError

_PLACES: Final = ("env", "file", "keyring")
_LARGEST: Final = 65_536
"""Bytes of a secret at most: a private key has some thousands."""


@attrs.frozen(kw_only=True)
class Secret:
    """Where a secret is kept: one of `env` (a variable), `file` (a path), `keyring` ("service/user").

    It holds no secret itself, so that neither `repr` nor a traceback nor JSON can show one; `reveal` reads it.
    """

    env: str = ""
    file: str = ""
    keyring: str = ""
    directory: Path | None = attrs.field(default=None, repr=False)

    @classmethod
    def at(cls, found: Any, directory: Path | None = None) -> Secret:
        """Take `{env = "NAME"}`, `{file = "path"}` or `{keyring = "service/user"}`; paths are relative to `directory`.

        Raises:
            ValueError: it is none of these; the secret itself, say.
        """
        if not isinstance(found, Mapping) or len(found) != 1 or not found.keys() <= set(_PLACES):
            raise ValueError
        ((place, name),) = found.items()
        if not isinstance(name, str) or not name.strip() or (place == "keyring" and "/" not in name):
            raise ValueError
        return cls(**{place: name}, directory=directory)

    def reveal(self) -> str:
        """Return the secret itself.

        Raises:
            SettingsError: it is not where it should be; the message names the place.
        """
        found = self._from_file() if self.file else self._from_keyring() if self.keyring else os.environ.get(self.env)
        if not found:
            raise SettingsError(f"there is no secret at {self}", hint=f"put it there: {self._where}")
        return found

    def __str__(self) -> str:
        return self._where

    @property
    def _where(self) -> str:
        if self.file:
            return f"the file {self.file}"
        return f"{self.keyring} in the keyring" if self.keyring else f"the environment variable {self.env}"

    def _from_file(self) -> str:
        path = (self.directory or Path()) / Path(self.file).expanduser()
        try:
            content = path.read_bytes()[: _LARGEST + 1]
            if len(content) > _LARGEST:
                raise SettingsError(f"{path} is too large for a secret", hint=f"it has {_LARGEST:,} bytes at most")
            return content.decode("utf-8-sig").strip()
        except OSError as error:
            raise SettingsError(f"the secret at {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"the secret at {path} is not UTF-8", hint="save it as text") from None

    def _from_keyring(self) -> str | None:
        service, _, user = self.keyring.rpartition("/")
        try:
            keyring = import_module("keyring")
        except ImportError:
            raise SettingsError(
                f"the secret at {self} cannot be read: the package keyring is not installed",
                hint='pip install keyring, or name another place: {env = "..."} or {file = "..."}',
            ) from None
        try:
            found: str | None = keyring.get_password(service, user)
        except Exception as error:  # what a keyring raises is its own, and may say too much
            raise SettingsError(f"the secret at {self} cannot be read: {type(error).__name__}") from None
        return found
