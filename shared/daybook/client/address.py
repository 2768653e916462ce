"""Where the API is and who is asking: arguments first, then the environment, then what `daybook up` left in
`.daybook/env.json`.
"""

import os
from pathlib import Path

import msgspec

from .errors import DaybookError, Unreachable

ENV_FILE = Path(".daybook") / "env.json"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A base URL without a trailing slash, a token if there is one, and the `.daybook` folder that told them, if it was
    one.
    """

    url: str
    token: str | None
    folder: Path | None = None


class LocalEnv(msgspec.Struct, frozen=True, kw_only=True):
    """What `daybook up` writes for clients on the same machine."""

    url: str
    token: str | None = None
    database_url: str | None = None


def find_address(base_url: str | None = None, token: str | None = None) -> Address:
    """The address to use. Raises Unreachable when none is known.

    A token from the file goes only to the URL from the same file: another API has no business seeing it.
    """
    url = base_url or os.environ.get("DAYBOOK_URL")
    token = token or os.environ.get("DAYBOOK_TOKEN")
    if url is not None and token is not None:
        return Address(url=_checked(url), token=token)
    found = find_local()
    if found is None:
        if url is None:
            raise Unreachable("no API is known here: run `daybook up`, or set DAYBOOK_URL and DAYBOOK_TOKEN")
        return Address(url=_checked(url), token=None)
    folder, local = found
    if url is not None and _checked(url) != _checked(local.url):
        return Address(url=_checked(url), token=token)
    return Address(url=_checked(local.url), token=token or local.token, folder=folder)


def find_local() -> tuple[Path, LocalEnv] | None:
    """The nearest `.daybook` folder, from the current one upwards, and what its `env.json` says."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / ENV_FILE
        if path.is_file():
            try:
                return path.parent, msgspec.json.decode(path.read_bytes(), type=LocalEnv)
            except (OSError, msgspec.MsgspecError) as error:
                raise DaybookError(f"{path} cannot be used: {error}") from error
    return None


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise DaybookError(f"{url!r} is not the URL of an API: it must begin with http:// or https://")
    return url.rstrip("/")
