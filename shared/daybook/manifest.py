"""What an app is, whoever wrote it and in whichever form: its id, its kind, its input, its defaults, and how to run it.

A definition comes from a decorated Python function (`apps.py`) or from a TOML or JSON file (`ChatApp`, `HttpApp`). Its
manifest is all of it that can be written down; the manifest's hash is the app's version, which every task pins. Secrets
are no part of it: a file names the environment variable (`env:NAME`), and only the runner that executes looks it up.

It refuses ids, queues and priorities that the rest of the house could not carry, and keys in a file that mean nothing.
"""

import re
from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

import msgspec

from .bus.subjects import is_name
from .domain.events import AppKind, AppPublished, Delivery, Policy
from .durations import parse_duration

Duration: TypeAlias = str | float

_APP_ID: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_APP_ID_LENGTH: Final = 128


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often to try: `max_attempts` counts the first one too, so 1 means never again."""

    max_attempts: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= 100:
            raise ValueError(f"max_attempts lies between 1 and 100, which {self.max_attempts} does not")


class PythonFunction(msgspec.Struct, frozen=True, kw_only=True):
    """How to call a Python function: `input_type` is what its input is converted to, strictly. It becomes the argument
    named `whole`, or, field by field, all arguments. The argument named `context` takes the Context. A function that is
    not `is_async` belongs in a thread."""

    function: Callable[..., Any]
    input_type: Any
    whole: str | None
    context: str | None
    is_async: bool

    def bind(self, value: Any, context: object) -> dict[str, Any]:
        """The keyword arguments for an input (a decoded JSON value). Raises msgspec.ValidationError when it does not
        fit."""
        converted = msgspec.convert(value, self.input_type, str_keys=True)
        arguments = msgspec.structs.asdict(converted) if self.whole is None else {self.whole: converted}
        if self.context is not None:
            arguments[self.context] = context
        return arguments


class AppFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"):
    """What any app without code may say. Without `app` its id is the file's name; without `input_schema` its input is
    the variables of its templates."""

    app: str = ""
    doc: str = ""
    input_schema: dict[str, Any] | None = None
    queue: str = "default"
    priority: int = 3
    timeout: Duration | None = None
    retry: Retry = Retry()
    delivery: Delivery = "at_least_once"

    def policy(self) -> Policy:
        """The file's policy. Raises ValueError for a timeout that is no duration."""
        return make_policy(timeout=self.timeout, retry=self.retry, delivery=self.delivery)


class ChatApp(AppFile, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="chat"):
    """A prompt for a model behind an OpenAI-compatible endpoint. `system` and `prompt` are templates; `base_url`,
    `model` and `api_key` may be `env:NAME` or `env:NAME|default`, and `api_key` must. `include_usage` asks for token
    counts, which a few endpoints refuse to be asked."""

    base_url: str
    model: str
    prompt: str
    system: str = ""
    api_key: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    include_usage: bool = True


class HttpApp(AppFile, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="http"):
    """An HTTP request. `url`, the headers' values, `body`, and every text inside `json` are templates; a header may
    also be `env:NAME`, or hold `{{env:NAME}}`."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: dict[str, str] = {}
    body: str | None = None
    json: Any = None


Run: TypeAlias = PythonFunction | ChatApp | HttpApp


class Definition(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One app, ready to be run and to be announced."""

    app: str
    kind: AppKind
    run: Run
    doc: str = ""
    input_schema: dict[str, Any] = {}
    queue: str = "default"
    priority: int = 3
    policy: Policy = Policy()

    def __post_init__(self) -> None:
        if not is_app_id(self.app):
            raise ValueError(f"{self.app!r} cannot be an app's id: parts of letters, digits, '_' and '-', joined by '.', {_APP_ID_LENGTH} characters at most")
        if not is_name(self.queue):
            raise ValueError(f"{self.queue!r} cannot be a queue's name: 1 to 32 of a-z, 0-9, '_' and '-'")
        if not 1 <= self.priority <= 5:
            raise ValueError(f"priority lies between 1 and 5, which {self.priority} does not")

    @cached_property
    def version(self) -> str:
        """The first 16 hex characters of the SHA-256 of the manifest's canonical JSON."""
        return sha256(msgspec.json.encode(self._manifest(), order="sorted")).hexdigest()[:16]

    def published(self, actor: str = "") -> AppPublished:
        """The fact that a runner announces when it serves this app."""
        return AppPublished(
            actor=actor,
            app=self.app,
            app_kind=self.kind,
            version=self.version,
            doc=self.doc,
            input_schema=self.input_schema,
            queue=self.queue,
            priority=self.priority,
            policy=self.policy,
        )

    def _manifest(self) -> dict[str, Any]:
        # A function is known by its qualified name without its module, which depends on how the file was found on this
        # machine. Its source is left out: a corrected function serves the tasks that were submitted before.
        run = {"function": self.run.function.__qualname__} if isinstance(self.run, PythonFunction) else self.run
        return {
            "app": self.app,
            "kind": self.kind,
            "doc": self.doc,
            "input_schema": self.input_schema,
            "queue": self.queue,
            "priority": self.priority,
            "policy": self.policy,
            "run": run,
        }


def is_app_id(text: str) -> bool:
    """Whether an app may be called this."""
    return len(text) <= _APP_ID_LENGTH and _APP_ID.fullmatch(text) is not None


def make_policy(*, timeout: Any, retry: Retry, delivery: Delivery) -> Policy:
    """The policy in the words of an app's author; `timeout` as `durations.parse_duration` takes it. Raises ValueError
    for what cannot be."""
    if delivery not in ("at_least_once", "at_most_once"):
        raise ValueError(f"delivery is at_least_once or at_most_once, not {delivery!r}")
    if timeout is None:
        return Policy(max_attempts=retry.max_attempts, delivery=delivery)
    seconds = parse_duration(timeout).total_seconds()
    if not seconds:
        raise ValueError("a timeout of 0 would end every attempt before it began")
    return Policy(max_attempts=retry.max_attempts, timeout_seconds=seconds, delivery=delivery)
