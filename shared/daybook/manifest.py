"""What an app is, whoever wrote it and in whichever form: its id, its kind, its input, its defaults, and how to run it.

A definition comes from a decorated Python function (`apps.py`) or from a TOML or JSON file (`ChatApp`, `HttpApp`,
`NatsApp`, `CommandApp`). Its manifest is all of it that can be written down; the manifest's hash is the app's version,
which every task pins. Secrets are no part of it: a file names the environment variable (`env:NAME`), and only the
runner that executes looks it up.

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
_MOST_ERROR_TYPES: Final = 32
_ERROR_TYPE_LENGTH: Final = 128
_MOST_TOOLS: Final = 128  # more are refused by OpenAI's API


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often to try, and how long to wait in between: `max_attempts` counts the first one too, so 1 means never
    again. The first wait is `backoff`, each later one `factor` times as long, up to `max_backoff`; a part of it, up to
    a quarter, is left out, another one for each task. Errors of the types in `non_retryable` are final."""

    max_attempts: int = 1
    backoff: Duration = "1s"
    max_backoff: Duration = "5m"
    factor: float = 2.0
    non_retryable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= 100:
            raise ValueError(f"max_attempts lies between 1 and 100, which {self.max_attempts} does not")
        if not 1 <= self.factor <= 100:
            raise ValueError(f"factor lies between 1 and 100, which {self.factor} does not")
        if isinstance(self.non_retryable, str) or len(self.non_retryable) > _MOST_ERROR_TYPES:
            raise ValueError(f"non_retryable names {_MOST_ERROR_TYPES} types of errors at most, each by its name")
        if not all(isinstance(name, str) and 1 <= len(name) <= _ERROR_TYPE_LENGTH for name in self.non_retryable):
            raise ValueError(f"non_retryable names types of errors in 1 to {_ERROR_TYPE_LENGTH} characters, such as 'ValueError'")
        parse_duration(self.backoff)
        parse_duration(self.max_backoff)


class PythonFunction(msgspec.Struct, frozen=True, kw_only=True):
    """How to call a Python function: `input_type` is what its input is converted to, strictly. It becomes the argument
    named `whole`, or, field by field, all arguments. The argument named `context` takes the Context. A function that is
    not `is_async` belongs in a thread, or in a process of its own."""

    function: Callable[..., Any]
    input_type: Any
    whole: str | None
    context: str | None
    is_async: bool
    process: bool = False

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
    queue_ttl: Duration | None = None
    deadline: Duration | None = None

    def policy(self) -> Policy:
        """The file's policy. Raises ValueError for a timeout that is no duration."""
        return make_policy(timeout=self.timeout, retry=self.retry, delivery=self.delivery, queue_ttl=self.queue_ttl, deadline=self.deadline)


class ChatApp(AppFile, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="chat"):
    """A prompt for a model behind an OpenAI-compatible endpoint. `system` and `prompt` are templates; `base_url`,
    `model` and `api_key` may be `env:NAME` or `env:NAME|default`, and `api_key` must. `include_usage` asks for token
    counts, which a few endpoints refuse to be asked. `tools` are the apps that the model may call, `max_rounds` is how
    often it is asked at most in one attempt, and `idle_timeout` how long it may be silent."""

    base_url: str
    model: str
    prompt: str
    system: str = ""
    api_key: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    include_usage: bool = True
    tools: tuple[str, ...] = ()
    max_rounds: int = 8
    idle_timeout: Duration = 60

    def __post_init__(self) -> None:
        if len(set(self.tools)) < len(self.tools) or len(self.tools) > _MOST_TOOLS:
            raise ValueError(f"tools are {_MOST_TOOLS} apps at most, each named once")
        if not 1 <= self.max_rounds <= 100:
            raise ValueError(f"max_rounds lies between 1 and 100, which {self.max_rounds} does not")
        if not self.idle_seconds:
            raise ValueError("an idle_timeout of 0 would give up before the model could speak")

    @property
    def idle_seconds(self) -> float:
        """`idle_timeout` in seconds."""
        return parse_duration(self.idle_timeout).total_seconds()


class HttpApp(AppFile, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="http"):
    """An HTTP request. `url`, the headers' values, `body`, and every text inside `json` are templates; a header may
    also be `env:NAME`, or hold `{{env:NAME}}`."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: dict[str, str] = {}
    body: str | None = None
    json: Any = None


class NatsApp(AppFile, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="nats"):
    """A request to a NATS micro-service. `subject` and the headers' values are templates; a value fills (a part of) one
    token of the subject, or, where the subject is nothing but one variable, the whole of it. `allow` lists the patterns
    one of which every subject must match. `json` is a template like that of an HTTP app; without it the input itself is
    sent."""

    subject: str
    allow: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    json: Any = None


class CommandLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a command may use at most: each of its processes, except for `output_bytes` and `log_bytes`, which bound
    what is kept of stdout and stderr."""

    cpu_seconds: int = 600
    memory_bytes: int = 4 * 1024**3
    file_bytes: int = 1024**3
    open_files: int = 256
    output_bytes: int = 10 * 1024**2
    log_bytes: int = 1024**2

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 1 <= getattr(self, name) < 2**63:
                raise ValueError(f"limits.{name} is a positive number")


class CommandApp(AppFile, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="command"):
    """A program, run without a shell. The parts of `argv` but the first are templates; the values of `env`, which is
    its whole environment, may be `env:NAME`. It gets the input as JSON on stdin, and its stdout is the `result`. A value
    that begins with `-` fills no part of its own before the part `--`, unless `allow_dashes`. `grace` passes between
    SIGTERM and SIGKILL."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    result: Literal["text", "json"] = "text"
    grace: Duration = 5.0
    limits: CommandLimits = CommandLimits()
    allow_dashes: bool = False


Run: TypeAlias = PythonFunction | ChatApp | HttpApp | NatsApp | CommandApp


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


def make_policy(*, timeout: Any, retry: Retry, delivery: Delivery, queue_ttl: Any = None, deadline: Any = None) -> Policy:
    """The policy in the words of an app's author; durations as `durations.parse_duration` takes them. Raises ValueError
    for what cannot be."""
    if delivery not in ("at_least_once", "at_most_once"):
        raise ValueError(f"delivery is at_least_once or at_most_once, not {delivery!r}")
    wanted: dict[str, Any] = {
        "max_attempts": retry.max_attempts,
        "timeout_seconds": _limit(timeout, "a timeout of 0 would end every attempt before it began"),
        "delivery": delivery,
        "backoff_seconds": parse_duration(retry.backoff).total_seconds(),
        "backoff_factor": float(retry.factor),
        "backoff_max_seconds": parse_duration(retry.max_backoff).total_seconds(),
        "non_retryable": tuple(retry.non_retryable),
        "queue_ttl_seconds": _limit(queue_ttl, "a queue_ttl of 0 would end every task before it could begin"),
        "deadline_seconds": _limit(deadline, "a deadline of 0 would end every task before it could begin"),
    }
    # What is as it would be anyway is left out, and so it is no part of the manifest or of any event.
    usual = Policy()
    return Policy(**{name: value for name, value in wanted.items() if value != getattr(usual, name)})


def _limit(duration: Any, zero: str) -> float | None:
    if duration is None:
        return None
    seconds = parse_duration(duration).total_seconds()
    if not seconds:
        raise ValueError(zero)
    return seconds
