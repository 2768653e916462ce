"""Settings, read once at start from the environment: plain values, no connections. An unknown `DAYBOOK_…` name is an error, since it is a typo."""

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from .bus.subjects import is_name

_PREFIX: Final = "DAYBOOK_"
_BLOB_SCHEMES: Final = ("file", "s3", "gs")
_LARGEST_RESULT_BYTES: Final = 256 * 1024 * 1024
"""What a field of Postgres, and a driver on both its ends, can take without trouble."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every service needs to know. Each field is the variable `DAYBOOK_` plus its name in capitals."""

    database_url: str = ""
    migrate_url: str = ""
    nats_url: str = "nats://127.0.0.1:4222"
    namespace: str = "default"
    log_level: str = "info"
    lease_ttl_seconds: float = 15.0
    lease_renew_seconds: float = 0.0
    slots: int = 128
    output_limit: int = 8 * 1024 * 1024
    queues: str = "default"
    http_allow: str = ""
    nats_allow: str = ""
    nats_requests: bool = True
    webhooks: bool = True
    webhook_queue: str = "default"
    blobs: str = ""
    result_limit_bytes: int = 64 * 1024 * 1024
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
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"in the environment, under {_PREFIX}…: {error}") from None
    if not 1 <= settings.result_limit_bytes <= _LARGEST_RESULT_BYTES:
        raise SettingsError(f"DAYBOOK_RESULT_LIMIT_BYTES is 1 to {_LARGEST_RESULT_BYTES}, not {settings.result_limit_bytes}")
    if not is_name(settings.webhook_queue):
        raise SettingsError(f"DAYBOOK_WEBHOOK_QUEUE is 1 to 32 of a-z, 0-9, '_' and '-', not {settings.webhook_queue!r}")
    blob_places(settings.blobs)
    return settings


def require_database(settings: Settings) -> str:
    """The database's URL, or a `SettingsError` that says how to give one."""
    if not settings.database_url:
        raise SettingsError("DAYBOOK_DATABASE_URL is not set; `daybook up` runs everything, with a database of its own")
    return settings.database_url


def blob_places(blobs: str) -> tuple[str, ...]:
    """The stores that the setting `blobs` names, the one to write to first; none where large payloads lie in Postgres
    alone. Raises `SettingsError` for what is not the address of a store."""
    places = tuple(place.strip() for place in blobs.split(",") if place.strip())
    for place in places:
        if place != "postgres" and (fault := _fault_of_place(place)):
            shown = "an address with an @" if "@" in place else repr(place)  # what stands before one is nobody's business
            raise SettingsError(f"DAYBOOK_BLOBS: {shown} {fault}; it is postgres, file:///folder, s3://bucket/prefix or gs://bucket/prefix")
    return places


def _fault_of_place(place: str) -> str:
    try:
        url = urlsplit(place)
        given = url.username or url.password or url.port or url.query or url.fragment
    except ValueError as error:
        return f"is no URL ({error})"
    if url.scheme not in _BLOB_SCHEMES:
        return f"begins with none of {', '.join(_BLOB_SCHEMES)}"
    if given:
        # A password here would end in logs and process lists: each kind of store has variables of its own for it.
        return "may hold neither user, password, port, query nor fragment"
    if url.scheme == "file":
        return "" if not url.netloc and url.path.strip("/") else "names no folder of this machine"
    return "" if url.hostname else "names no bucket"
