"""Where large payloads lie: the table `daybook.blob` in Postgres, or an object store that `DAYBOOK_BLOBS` names.

A blob is stored under the digest that its fact will name, before the fact is appended, and never changes: storing it
twice is harmless, and one that no fact names is litter, never a task. The store that is named first is written to; every
other one that is named, and Postgres always, is read, so that a setting may change while old blobs stay where they are
(and what is submitted from SQL lies in Postgres in any case).

A digest is salted, and the salt lies beside the fact, so no store can check it. What can be checked is the size: a blob
of another size than its fact says is refused rather than shown.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import structlog

from .log.connections import LOST
from .log.envelope import LogUnavailable
from .log.postgres import Log
from .settings import SettingsError, blob_places

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CALL_SECONDS: Final = 10.0
"""How long one call of an object store may take, beside a second for each MiB."""
_MIB: Final = 1024 * 1024
_RETRIES: Final = 2
_DETAIL_LENGTH: Final = 300

log = structlog.get_logger()


class BlobsUnavailable(LogUnavailable):
    """The object store could not be reached in time, or would not serve us. What was to be stored may or may not be
    there; storing it again is harmless."""


class BlobDamaged(Exception):
    """The store holds a blob of another size than was stored."""


class Blobs(Protocol):
    """A store of large payloads."""

    async def put(self, digest: str, content: bytes) -> None:
        """Store a payload under its digest. Raises `BlobsUnavailable`, or what Postgres raises (`LOST`) when it is
        away."""
        ...

    async def get(self, digest: str, size_bytes: int) -> bytes | None:
        """A payload, which has that many bytes; None when it was erased. Raises the same, and `BlobDamaged` when it has
        another size."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def open_blobs(places: str, event_log: Log) -> Blobs:
    """The store that the setting `blobs` describes. Connects to nothing yet. Raises `SettingsError` when it cannot be
    made: for want of obstore, of a folder, or of sense."""
    postgres = PostgresBlobs(event_log)
    named = blob_places(places)
    stores: list[Blobs] = [postgres if place == "postgres" else ObjectBlobs.at(place) for place in named]
    if "postgres" not in named:
        stores.append(postgres)
    return stores[0] if len(stores) == 1 else _Several(stores)


class PostgresBlobs:
    """Blobs as rows of a table."""

    def __init__(self, event_log: Log) -> None:
        self._log = event_log

    async def put(self, digest: str, content: bytes) -> None:
        """As `Blobs.put`."""
        await self._log.put_blob(digest, content)

    async def get(self, digest: str, size_bytes: int) -> bytes | None:
        """As `Blobs.get`."""
        return _of_size(await self._log.get_blob(digest, size_bytes), size_bytes, "postgres", digest)

    async def close(self) -> None:
        """The log is closed by who opened it."""


class ObjectBlobs:
    """Blobs as objects, each named by its digest, under the prefix of the place."""

    def __init__(self, place: str, store: "ObjectStore") -> None:
        import obstore
        from obstore.exceptions import BaseError

        self._place = place
        self._store = store
        self._obstore: Any = obstore
        self._errors = (BaseError, OSError)  # a TimeoutError is an OSError

    @classmethod
    def at(cls, place: str) -> "ObjectBlobs":
        """The store at `place`, a URL that `settings.blob_places` let pass. Raises `SettingsError`."""
        try:
            from obstore.exceptions import BaseError
            from obstore.store import LocalStore, from_url
        except ModuleNotFoundError:
            raise SettingsError("DAYBOOK_BLOBS names an object store, and obstore is not installed: install daybook-tasks[blobs]") from None
        try:
            if place.startswith("file:"):
                return cls(place, LocalStore(Path(unquote(urlsplit(place).path)), mkdir=True))
            # Credentials, region and endpoint come from the usual variables of that kind of store, such as AWS_REGION.
            return cls(place, from_url(place, retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=CALL_SECONDS)}))
        except (BaseError, OSError, ValueError) as error:
            raise SettingsError(f"DAYBOOK_BLOBS: {place!r} cannot be used: {_first_line(error)}") from None

    async def put(self, digest: str, content: bytes) -> None:
        """As `Blobs.put`."""
        try:
            async with asyncio.timeout(_seconds(len(content))):
                await self._obstore.put_async(self._store, digest, content)
        except self._errors as error:
            raise self._unavailable("put", digest, error) from error

    async def get(self, digest: str, size_bytes: int) -> bytes | None:
        """As `Blobs.get`."""
        try:
            async with asyncio.timeout(_seconds(size_bytes)):
                found = await self._obstore.get_async(self._store, digest)
                content = bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except self._errors as error:
            raise self._unavailable("get", digest, error) from error
        return _of_size(content, size_bytes, self._place, digest)

    async def close(self) -> None:
        """Connections close when the store is forgotten."""

    def _unavailable(self, verb: str, digest: str, error: Exception) -> BlobsUnavailable:
        # Whoever runs this has to know why: a wrong key looks like an outage to everybody else.
        log.warning("blobs.failed", place=self._place, verb=verb, digest=digest, error=type(error).__name__, detail=_first_line(error))
        return BlobsUnavailable(f"{self._place}: {type(error).__name__}")


class _Several:
    """Writes to the first store, and reads from the first that has it."""

    def __init__(self, stores: Sequence[Blobs]) -> None:
        self._stores = stores

    async def put(self, digest: str, content: bytes) -> None:
        await self._stores[0].put(digest, content)

    async def get(self, digest: str, size_bytes: int) -> bytes | None:
        failed: Exception | None = None
        for store in self._stores:
            try:
                content = await store.get(digest, size_bytes)
            except (BlobsUnavailable, BlobDamaged, *LOST) as error:
                failed = failed or error
                continue
            if content is not None:
                return content
        if failed is not None:
            # The one that could not be asked may have it: it is not known to be gone.
            raise failed
        return None

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


def _of_size(content: bytes | None, size_bytes: int, place: str, digest: str) -> bytes | None:
    if content is not None and len(content) != size_bytes:
        log.error("blobs.damaged", place=place, digest=digest, size_bytes=len(content), expected_bytes=size_bytes)
        raise BlobDamaged(f"{place} holds {len(content)} bytes under {digest}, and there should be {size_bytes}")
    return content


def _seconds(size_bytes: int) -> float:
    return CALL_SECONDS + size_bytes / _MIB


def _first_line(error: Exception) -> str:
    """What obstore says begins with one line for people; pages of its own insides follow."""
    return str(error).partition("\n")[0][:_DETAIL_LENGTH]
