"""What is said on NATS and is no fact: the words of running attempts, doorbells, pokes, and words to runners."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from daybook.bus import subjects
from daybook.bus.messages import CancelAttempt, Poke
from daybook.bus.topology import LIVE, WORK

from .examples import AT, IDS
from .parts import APP, JSON, NAMESPACE, OWNER, Part, channel, operation, ref, schemas

Count: TypeAlias = Annotated[int, Meta(ge=1)]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]


class Said(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all words share: who says it (the `attempt`), its number in there, from 1, and when."""

    attempt: Count
    n: Count
    at: Moment


class ProgressWord(Said, frozen=True, kw_only=True, tag="progress"):
    """How far the work is: `current` of `total`, in whatever unit; in `percent` where the total is known."""

    current: float
    total: float | None
    percent: Annotated[float, Meta(ge=0, le=100)] | None
    message: str


class LogWord(Said, frozen=True, kw_only=True, tag="log"):
    """A line that was logged, printed or warned of."""

    level: Literal["debug", "info", "warning", "error"]
    message: str
    fields: dict[str, Any]


class ChunkWord(Said, frozen=True, kw_only=True, tag="chunk"):
    """The next piece of a text that grows; the pieces of one attempt, put together, are its text."""

    text: str


class ActionWord(Said, frozen=True, kw_only=True, tag="action"):
    """A step of a kind that `name` names. Of apps of the kind `chat`: `thinking` (`text`), `tool.call.start` (`id`, `tool`,
    `arguments`), `tool.call.progress` (the same `id` and `tool`, and the fields of a progress or a chunk), `tool.call.end` (`ok`,
    `error_type`, `result`), and at last `usage` (`prompt_tokens`, `completion_tokens`, `total_tokens`, `rounds`, `complete`)."""

    name: str


WORDS: Final[tuple[type[Said], ...]] = (ProgressWord, LogWord, ChunkWord, ActionWord)

_SAID: Final[dict[str, Any]] = {"attempt": 1, "n": 7, "at": AT.isoformat()}
_TASK: Final = "0199ba3d-9282-7a1d-bc7b-1a3d3b80ce6d"
_EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "live.progress": {"current": 30, "total": 100, "percent": 30.0, "message": "resizing"},
    "live.log": {"level": "info", "message": "page.fetched", "fields": {"status": 200}},
    "live.chunk": {"text": "Dear Ada, "},
    "live.action": {"name": "tool.call.start", "id": "call_1", "tool": "texts.statistics", "arguments": '{"text": "…"}'},
}
_LIVE: Final = (
    "Told at most once, without headers; numbered `attempt.n`, from 1 in each attempt. What is missing can be asked for with "
    "`GET /v1/tasks/{id}/output?from=attempt.n`: everything that is said is also stored, about once a second and at the attempt's end."
)


def others() -> Part:
    """The channels of all that is no fact."""
    words = {_name(word): word for word in WORDS}
    task = {"description": "The task's id, `tsk_…`.", "examples": [IDS["task"]]}
    queue = {"description": "The queue: 1 to 32 of `a-z 0-9 _ -`.", "default": "default"}
    runner = {"description": "The runner's id, `run_…`.", "examples": [IDS["runner"]]}
    address = "daybook.{namespace}.{owner}.live.{app}.{task}"
    live = channel(address, "Live output", _LIVE, words, namespace=NAMESPACE, owner=OWNER, app=APP, task=task)
    bells = channel("daybook.work.{queue}", "Doorbells", "Tasks of a queue that may be claimed. Hints: lost ones are rung again.", ["doorbell"], queue=queue)
    return Part(
        channels={
            "liveOutput": live | {"x-jetstream": LIVE},
            "doorbells": bells | {"x-jetstream": WORK},
            "control": channel("daybook.control.{runner}", "Words to a runner", "Hints: a runner finds out from the log besides.", ["cancel"], runner=runner),
            "pokes": channel(subjects.POKE, "Pokes", "The log grew. Hints: whoever follows it looks besides.", ["poke"]),
        },
        operations={
            "speak": operation("send", "liveOutput", "Tell what a running attempt says.", words),
            "ring": operation("send", "doorbells", "Tell runners of tasks that wait.", ["doorbell"]),
            "control": operation("send", "control", "Tell a runner that somebody wants an attempt to stop.", ["cancel"]),
            "poke": operation("send", "pokes", "Tell that the log grew.", ["poke"]),
        },
        messages={
            **{name: _message(name, word, _SAID | _EXAMPLES[name] | {"type": name.removeprefix("live.")}) for name, word in words.items()},
            "doorbell": {
                "name": "doorbell",
                "title": "Doorbell",
                "summary": "Tasks that may be claimed, by their UUIDs.",
                "contentType": JSON,
                "payload": {"type": "array", "items": {"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]{36}$"}},
                "examples": [{"payload": [_TASK]}],
            },
            "cancel": _message("cancel", CancelAttempt, {"do": "cancel", "task": _TASK}),
            "poke": _message("poke", Poke, {"kinds": ["task.submitted.v1"], "lane": 0, "position": 42}),
        },
    )


def shapes() -> dict[str, Any]:
    """Their schemas. An action has whatever fields its name brings along."""
    components = schemas([*WORDS, CancelAttempt, Poke])
    components[ActionWord.__name__]["additionalProperties"] = True
    return components


def _name(word: type[Said]) -> str:
    return f"live.{word.__struct_config__.tag}"


def _message(name: str, model: type[msgspec.Struct], payload: Any) -> dict[str, Any]:
    words = " ".join((model.__doc__ or "").split())
    return {
        "name": name,
        "title": model.__name__,
        "summary": words,
        "contentType": JSON,
        "payload": ref(model),
        "examples": [{"payload": payload}],
    }
