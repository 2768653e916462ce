"""Settings, read once at start from the environment: plain values, no connections. An unknown `DAYBOOK_…` name is an error, since it is a typo."""

import os
from collections.abc import Mapping
from typing import Final

import msgspec

_PREFIX: Final = "DAYBOOK_"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every service needs to know. Each field is the variable `DAYBOOK_` plus its name in capitals."""

    database_url: str = ""
    migrate_url: str = ""
    nats_url: str = "nats://127.0.0.1:4222"
    namespace: str = "default"
    log_level: str = "info"
    lease_ttl_seconds: float = 15.0
    lease_renew_seconds: float = 5.0
    slots: int = 64
    queues: str = "default"
    http_allow: str = ""
    open_access: bool = False
    """Serve without tokens. Only on a loopback address."""
    # Read elsewhere, and named here so that they are known: the client's, the embedded servers', the demo's.
    url: str = ""
    token: str = ""
    data: str = ""
    pg_bin: str = ""
    nats_bin: str = ""
    chat_base_url: str = ""
    chat_model: str = ""
    chat_api_key: str = ""


class SettingsError(Exception):
    """The environment does not make sense; the text names the variable."""


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises `SettingsError`."""
    given = {name.removeprefix(_PREFIX).lower(): value for name, value in environment.items() if name.startswith(_PREFIX)}
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"in the environment, under {_PREFIX}…: {error}") from None


def require_database(settings: Settings) -> str:
    """The database's URL, or a `SettingsError` that says how to give one."""
    if not settings.database_url:
        raise SettingsError("DAYBOOK_DATABASE_URL is not set; `daybook up` runs everything, with a database of its own")
    return settings.database_url
