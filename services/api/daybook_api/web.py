"""Serves the pages: `/ui` and what is below it. The pages themselves are the files in `web/`, read into memory once, at start,
so what was not there then does not exist, wherever a path may lead.

Refuses to be a part of anybody else's page, and lets a page load nothing from elsewhere and run nothing but its own files.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from .problems import Problem
from .requests import HttpRequest

FOLDER: Final = Path(__file__).with_name("web")
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_INDEX: Final = "index.html"
_STATIC: Final = "static/"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Asset(NamedTuple):
    """A file as it is sent."""

    content: bytes
    headers: dict[str, str]


def read_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Every file that a page may consist of, by its path below the folder."""
    return {
        path.relative_to(folder).as_posix(): _asset(path.read_bytes(), _MEDIA_TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MEDIA_TYPES and path.is_file()
    }


def routes(assets: dict[str, Asset]) -> list[HTTPRouteHandler]:
    """The routes of the pages. They are no part of the API, and of its description neither."""

    @get("/")
    async def root() -> Response[bytes]:
        return Response(b"", status_code=307, headers={"Location": "/ui"})

    @get("/ui")
    async def index(request: HttpRequest) -> Response[bytes]:
        return _send(request, assets, _INDEX)

    # Which page it is, the page knows: the address is read by its own script.
    @get("/ui/{rest:path}")
    async def below(request: HttpRequest, rest: FromPath[Path]) -> Response[bytes]:
        path = rest.as_posix().lstrip("/")
        return _send(request, assets, path.removeprefix(_STATIC) if path.startswith(_STATIC) else _INDEX)

    return [root, index, below]


def _asset(content: bytes, media_type: str) -> Asset:
    return Asset(content, {**_HEADERS, "ETag": f'"{sha256(content).hexdigest()[:32]}"', "content-type": media_type})


def _send(request: HttpRequest, assets: dict[str, Asset], name: str) -> Response[bytes]:
    asset = assets.get(name)
    if asset is None:
        raise Problem("not-found", "There is no such page.")
    if asset.headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers={key: value for key, value in asset.headers.items() if key != "content-type"})
    return Response(asset.content, media_type=asset.headers["content-type"], headers=asset.headers)
