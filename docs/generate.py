"""Writes the pages that are made from the code, so that they cannot say anything else than the code does.

python docs/generate.py            write them
python docs/generate.py --check    write nothing; exit 1 and name the pages that are stale
"""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from daybook.domain.events import kind_of
from daybook.domain.status import TABLE, Status, diagram

FOLDER: Final = Path(__file__).resolve().parent

_STATE_MACHINE: Final = """\
# The states of a task

A task is in one of six statuses, and only an event moves it. The table below is the whole of it: an event that is not \
allowed in a task's status is refused before it is written. Nuance (why it failed, \
who cancelled it) is the reason of the event, never a seventh status.

```mermaid
{diagram}```

| event | kind | when | allowed in | leads to |
|---|---|---|---|---|
{rows}

A task begins with `TaskSubmitted`; nothing follows `success`, and nothing but `TaskRetried`, which opens a new round, \
follows `error` or `cancelled`. A task that runs is cancelled in two \
steps: `TaskCancelRequested` asks its runner, and it stays `running` until the runner reports how it ended.

*Made from `daybook.domain.status` by `docs/generate.py`.*
"""


def state_machine() -> str:
    """The page about the transition table."""
    order: list[Status | None] = [None, *Status]
    rows = []
    for row in TABLE:
        starts = ", ".join("(nothing)" if start is None else f"`{start}`" for start in sorted(row.allowed, key=order.index))
        rows.append(f"| `{row.event.__name__}` | `{kind_of(row.event)}` | {row.label} | {starts} | `{row.to}` |")
    return _STATE_MACHINE.format(diagram=diagram(), rows="\n".join(rows))


_SETTINGS: Final = """\
# Settings

Every process reads its settings once, when it starts, from environment variables. An unknown variable that begins with \
`DAYBOOK_` is an error, since it is a typo. An empty one counts as not set where it names a server.

| variable | type | default | meaning |
|---|---|---|---|
{rows}

Apps without code may refer to any other variable of the runner's environment, as `env:NAME`.

*Made from `daybook.settings` by `docs/generate.py`.*
"""

_MEANINGS: Final = {
    "database_url": "The database, as the role of this service, or as its owner",
    "migrate_url": "The database, as its owner: for `daybook db migrate` and `daybook token create`",
    "nats_url": "The NATS server",
    "namespace": "The tenant that a runner serves, and that open access stands for",
    "log_level": "`debug`, `info`, `warning` or `error`; at `info` nothing is said per task",
    "lease_ttl_seconds": "How long a runner counts as alive after its last sign of life",
    "lease_renew_seconds": "How often it gives one; 0 means three times in that time",
    "slots": "How many tasks a runner executes at once",
    "output_limit": "How many bytes one attempt may say; what follows is dropped, and its log says so",
    "queues": "The queues that a runner serves, joined by commas; the other services make the doorbells of these",
    "http_allow": "Networks that apps may call although they are not public, joined by commas: `10.1.0.0/16,192.168.7.4`",
    "nats_allow": "Subjects that apps may send requests to, joined by commas: `greet.*,orders.>`; never Daybook's own, nor NATS's",
    "nats_requests": "Whether the API answers requests over NATS, which carry no token: what a user of NATS may publish to says who they are",
    "webhooks": "Whether a runner sends webhooks' messages",
    "webhook_queue": "The queue in which webhooks' messages wait; runners of that queue send them",
    "blobs": "Where inputs and results above 8 KiB lie: empty for Postgres, or `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`; more of \
them, joined by commas, are only read",
    "result_limit_bytes": "How large a result may be; an attempt that returns more fails with `ResultTooLarge`",
    "open_access": "Serve without tokens; on a loopback address only",
    "url": "For the client and the command line: where the API is",
    "token": "For the client and the command line: who is asking",
    "data": "For `daybook up`: the folder for all data; `.daybook` unless given",
    "pg_bin": "For `daybook up`: the folder with PostgreSQL's programs, in place of the wheel",
    "nats_bin": "For `daybook up`: the nats-server program, in place of the wheel",
    "chat_base_url": "For the example `summarise` and the demo: an OpenAI-compatible endpoint",
    "chat_model": "The model to ask there",
    "chat_api_key": "The key to show there",
}


def settings() -> str:
    """The page about environment variables. Raises KeyError for a setting that nobody explained."""
    from daybook.settings import Settings

    defaults = {field.name: f"`{field.default}`" if field.default not in ("", False) else "" for field in msgspec.structs.fields(Settings)}
    types = {field.name: field.type.__name__ for field in msgspec.structs.fields(Settings)}
    rows = [f"| `DAYBOOK_{name.upper()}` | {types[name]} | {default} | {_MEANINGS[name]} |" for name, default in defaults.items()]
    return _SETTINGS.format(rows="\n".join(rows))


_CLI: Final = """\
# Command line

Data goes to stdout, everything else to stderr. `-o` chooses between `table` (what a terminal gets), `json` and `jsonl` (what a \
pipe gets). `@last` stands for the task that was submitted last. Where the API is and who is asking comes from the options, then from \
`DAYBOOK_URL` and `DAYBOOK_TOKEN`, then from the nearest `.daybook` folder of a `daybook up`.

| exit code | meaning |
|---|---|
{codes}

{commands}

*Made from `daybook.cli` by `docs/generate.py`.*
"""


def command_line() -> str:
    """The page about the command line: what `--help` says of every command."""
    from cyclopts import App
    from rich.console import Console

    from daybook.cli import exits
    from daybook.cli.commands import build

    app = build()

    def paths(parent: App, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        names = [name for name in parent if not name.startswith("-")]
        if not names:
            yield words
        for name in names:
            yield from paths(parent[name], (*words, name))

    def described(words: tuple[str, ...]) -> str:
        said = io.StringIO()
        app.help_print(list(words), console=Console(file=said, width=110, color_system=None, legacy_windows=False))
        text = "\n".join(line.rstrip() for line in said.getvalue().strip().splitlines())
        return f"## daybook {' '.join(words)}\n\n```text\n{text}\n```"

    codes = re.findall(r"\b(\d+)  ([^,\d]+?)(?=,|  |$)", exits.__doc__ or "", re.MULTILINE)
    rows = [f"| {code} | {meaning} |" for code, meaning in sorted(codes, key=lambda each: int(each[0]))]
    return _CLI.format(codes="\n".join(rows), commands="\n\n".join(described(words) for words in paths(app, ())))


_SPELLED_OUT: Final = 10
_HTTP: Final = """\
# HTTP

The same is told to machines by `GET /openapi.json` (OpenAPI 3.1). Every request but those without a token carries \
`Authorization: Bearer dbk_…`; times are RFC 3339 in UTC; ids are `tsk_` (`sch_` for schedules) and 26 characters.

| method and path | purpose | answers |
|---|---|---|
{overview}

{endpoints}

## Problems

A refusal is `application/problem+json` (RFC 9457) with a `code` that stays, the `request_id` that the server's log knows, and, where \
a spot in the request is at fault, a JSON pointer to it.

| code | status | meaning |
|---|---|---|
{problems}

## Shapes

{shapes}

*Made from the API's own OpenAPI document by `docs/generate.py`.*
"""


def http() -> str:
    """The page about the API."""
    from daybook_api.documents import describe
    from daybook_api.problems import CODES
    from daybook_api.wiring import make_app

    document = json.loads(describe(make_app(cast(Any, None))))
    found = [(method.upper(), path, operation) for path, methods in document["paths"].items() for method, operation in methods.items()]
    found.sort(key=lambda each: (not each[1].startswith("/v1/tasks"), not each[1].startswith("/v1"), each[1], each[0] == "GET"))
    overview = [
        f"| [`{method} {path}`](#{_anchor(f'{method} {path}')}) | {operation['summary']} | {', '.join(sorted(operation['responses']))} |"
        for method, path, operation in found
    ]
    shapes = [(name, schema) for name, schema in sorted(document["components"]["schemas"].items()) if schema.get("properties")]
    return _HTTP.format(
        overview="\n".join(overview),
        endpoints="\n\n".join(_endpoint(*each) for each in found),
        problems="\n".join(f"| `{code}` | {meaning.status} | {meaning.title} |" for code, meaning in CODES.items()),
        shapes="\n\n".join(_shape(name, schema) for name, schema in shapes),
    )


def _endpoint(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"## {method} {path}", operation["summary"]]
    if operation.get("description"):
        parts.append(operation["description"])
    if parameters := operation.get("parameters"):
        rows = [f"| `{each['name']}` | {each['in']} | {_cell(each['description'])} |" for each in parameters]
        parts.append("| parameter | in | meaning |\n|---|---|---|\n" + "\n".join(rows))
    if body := operation.get("requestBody"):
        parts.append("Body: " + _contents(body["content"]) + ("." if body["required"] else "; may be left out."))
    answers = sorted((status, answer) for status, answer in operation["responses"].items() if not answer["description"].startswith("A problem"))
    told = [f"- **{status}** {answer['description']} {_contents(answer.get('content', {}))}".rstrip() for status, answer in answers]
    return "\n\n".join([*parts, "\n".join(told)])


def _contents(content: dict[str, Any]) -> str:
    return ", or ".join(f"{_type(each['schema'])} as `{media_type}`" if each.get("schema") else f"`{media_type}`" for media_type, each in content.items())


def _shape(name: str, schema: dict[str, Any]) -> str:
    rows = [f"| `{field}` | {_type(each)} | {'yes' if field in schema.get('required', ()) else ''} |" for field, each in schema["properties"].items()]
    words = f"{schema['description']}\n\n" if schema.get("description") else ""
    return f"### {name}\n\n{words}| field | type | required |\n|---|---|---|\n" + "\n".join(rows)


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return ", ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema and len(schema["enum"]) <= _SPELLED_OUT:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any JSON")
    if kind == "array":
        return f"array of {_type(schema['items'])}" if schema.get("items") else "array"
    return str({"date-time": "time", "uri-reference": "address"}.get(schema.get("format", ""), kind))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


_NATS: Final = """\
# Requests over NATS

`daybook.<namespace>.<owner>.api.<verb>`, by request and reply, as the micro-service `daybook`: `nats micro info daybook` lists it, \
`nats micro stats daybook` counts. Each verb is an operation of the [HTTP API](http.md), with the same checks, the same JSON and the same \
problems. [How to ask](../how-to/ask-over-nats.md).

A request is a JSON object; nothing at all counts as `{{}}`. What is a part of the path or a parameter over HTTP is a field here. A parameter \
that takes several values takes an array: `"status": ["error", "running"]`. Server-sent events are for HTTP; over NATS one subscribes to [facts](messages.md).

| verb | what it does | fields | over HTTP |
|---|---|---|---|
{verbs}

Of a request's headers {asked} mean what they mean over HTTP. `Daybook-Owner` says the owner's name where the subject has a digest of \
it. No other header means anything.

| header of a reply | meaning |
|---|---|
| `Daybook-Status` | The status that HTTP would have answered, `202` for instance; always there. |
| `Nats-Service-Error-Code` | The same, with problems only. |
| `Nats-Service-Error` | The problem's `detail` on one line; the problem itself is the body. |
| `Content-Type` | The body's media type. |
{answered}

*Made from `daybook_api.over_nats.verbs` and the API's own OpenAPI document by `docs/generate.py`.*
"""


def nats() -> str:
    """The page about requests over NATS."""
    from daybook_api.documents import describe
    from daybook_api.endpoints import RESPONSE_HEADERS
    from daybook_api.over_nats.gateway import ANSWER_HEADERS
    from daybook_api.over_nats.verbs import HEADERS, VERBS, field_of
    from daybook_api.wiring import make_app

    paths = json.loads(describe(make_app(cast(Any, None))))["paths"]
    found = {each["operationId"]: (f"{method.upper()} {path}", each) for path, methods in paths.items() for method, each in methods.items()}

    def row(verb: str, operation_id: str) -> str:
        place, operation = found[operation_id]
        fields = [", ".join(f"`{field_of(each['name'])}`" for each in operation.get("parameters", ()) if each["in"] != "header")]
        if body := operation.get("requestBody"):
            fields.append(_type(body["content"]["application/json"]["schema"]).replace("](", "](http.md"))
        words = " and those of ".join(filter(None, fields))
        return f"| `{verb}` | {_cell(operation['summary'])} | {words} | [`{place}`](http.md#{_anchor(place)}) |"

    return _NATS.format(
        verbs="\n".join(row(*each) for each in VERBS.items()),
        asked=", ".join(f"`{name}`" for name in HEADERS),
        answered="\n".join(f"| `{name}` | {RESPONSE_HEADERS[name][0]} |" for name in sorted(ANSWER_HEADERS.values()) if name in RESPONSE_HEADERS),
    )


PAGES: Final[dict[str, Callable[[], str]]] = {
    "explanation/state_machine.md": state_machine,
    "reference/cli.md": command_line,
    "reference/http.md": http,
    "reference/nats.md": nats,
    "reference/settings.md": settings,
}


def main(arguments: list[str]) -> int:
    """Write or check every page; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    pages = {FOLDER / name: page() for name, page in PAGES.items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
        print(f"{'stale' if arguments else 'written'}: {path.relative_to(FOLDER.parent)}")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
