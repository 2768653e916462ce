"""The tools of chat apps: other apps of this runner, which a model calls by a name made from their id.

A call runs inside the attempt, through the runner's own executors. Whatever is wrong with it (no such tool, arguments
that do not fit, a tool that fails or takes too long) is told to the model as the call's result, since the model can do
something about it. Each call says `tool.call.start`, `tool.call.progress` and `tool.call.end`. What is said and what is
told is bounded.

It refuses, at the start of a runner, tools that the runner does not serve, and chat apps as tools: a model that asks
models that ask models is a loop that nobody sees.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from daybook import clock
from daybook.context import Context, Emit
from daybook.manifest import ChatApp, Definition
from daybook.safe_json import safe_text, safe_value

from ..files import LoadError
from .protocol import Call, Failure, Outcome

CallApp: TypeAlias = Callable[[Call, Context], Awaitable[Outcome]]
"""Runs one app to its outcome, as `Executors.execute` does."""

_AT_ONCE: Final = 8
_NAME_LENGTH: Final = 64
_DOC_LENGTH: Final = 1024
_TOLD_LENGTH: Final = 32 * 1024
"""Of a result, to the model."""
_SAID_LENGTH: Final = 2_000
"""Of arguments and results, to those who watch."""
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wants to have called: the arguments are JSON, if the model wrote JSON."""

    id: str
    name: str
    arguments: str


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """An app as a tool."""

    name: str
    definition: Definition
    validator: Any

    def arguments(self, text: str) -> dict[str, Any]:
        """The arguments that a model wrote. Raises ValueError when they do not fit."""
        try:
            value = msgspec.json.decode(text) if text.strip() else {}
            is_safe = isinstance(value, dict) and safe_value(value) == value
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ValueError(f"the arguments are no JSON: {error}") from error
        if not is_safe:
            raise ValueError("the arguments are no JSON object, or there is a NUL in them")
        for misfit in self.validator.iter_errors(value):
            pointer = "".join(f"/{part}" for part in misfit.instance_path)
            raise ValueError(f"the arguments do not fit the schema, at {pointer or '/'}: {cut(misfit.message, 500)}")
        return value


def check_tools(definitions: Mapping[str, Definition]) -> None:
    """Refuse tools that cannot be called: raises LoadError, naming the app, the tool, and the reason."""
    for definition in definitions.values():
        Toolbox(definition, definitions)


class Toolbox:
    """The tools of one chat app. Raises LoadError as `check_tools` does."""

    def __init__(self, owner: Definition, definitions: Mapping[str, Definition]) -> None:
        ids = owner.run.tools if isinstance(owner.run, ChatApp) else ()
        names = function_names(ids)
        self._tools = {names[app]: _tool(owner.app, names[app], app, definitions) for app in ids}

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools as an OpenAI-compatible endpoint takes them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.definition.doc[:_DOC_LENGTH],
                    "parameters": {"type": "object", "properties": {}} | tool.definition.input_schema,
                },
            }
            for tool in self._tools.values()
        ]

    def find(self, name: str) -> Tool | None:
        """The tool that a model calls by this name."""
        return self._tools.get(name)

    def __str__(self) -> str:
        return ", ".join(self._tools) or "none"


class ToolRuns:
    """The calls of one attempt."""

    def __init__(self, tools: Toolbox, parent: Call, context: Context, call_app: CallApp) -> None:
        self._tools = tools
        self._parent = parent
        self._context = context
        self._call_app = call_app
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._seen: Counter[str] = Counter()

    async def run(self, calls: Iterable[ToolCall]) -> list[str]:
        """Run the calls of one round, several at once, and return what the model is told of each, in order."""
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self._run_one(call, self._key_of(call))) for call in calls]
        return [task.result() for task in running]

    def _key_of(self, call: ToolCall) -> str:
        """The same call in another attempt has the same key, and no other call has it: whatever must not be done twice
        is not done twice."""
        digest = sha256(f"{call.name}\n{call.arguments}".encode(errors="replace")).hexdigest()[:16]
        self._seen[digest] += 1
        return f"{self._parent.task_id}-{digest}-{self._seen[digest]}"

    async def _run_one(self, call: ToolCall, key: str) -> str:
        async with self._slots:
            tool = self._tools.find(call.name)
            about = {"id": call.id, "tool": tool.definition.app if tool else cut(call.name, _NAME_LENGTH)}
            self._say("start", about, arguments=cut(call.arguments, _SAID_LENGTH))
            try:
                outcome = await self._outcome_of(tool, call, key, about)
            except asyncio.CancelledError:
                self._say("end", about, ok=False, error_type="Cancelled", result="")
                raise
            error_type = outcome.error_type if isinstance(outcome, Failure) else None
            told = _told(outcome)
            self._say("end", about, ok=error_type is None, error_type=error_type, result=cut(told, _SAID_LENGTH))
            return told

    async def _outcome_of(self, tool: Tool | None, call: ToolCall, key: str, about: dict[str, str]) -> Outcome:
        if tool is None:
            return Failure(error_type="UnknownTool", message=f"there is no tool {cut(call.name, _NAME_LENGTH)!r}; the tools are: {self._tools}")
        try:
            arguments = tool.arguments(call.arguments)
        except ValueError as error:
            return Failure(error_type="InvalidInput", message=safe_text(str(error)))
        seconds = tool.definition.policy.timeout_seconds
        deadline = None if seconds is None else clock.after(seconds)
        inner = _ToolContext(key, self._parent, self._voice(about), deadline)
        run = Call(task_id=key, attempt=self._parent.attempt, definition=tool.definition, input=arguments, deadline=deadline)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._call_app(run, inner)
        except TimeoutError:
            if not limit.expired():
                raise
            inner.mark_cancelled()
            return Failure(error_type="Timeout", message=f"the tool took longer than {seconds:g} seconds")

    def _voice(self, about: dict[str, str]) -> Emit:
        """How a tool speaks: its progress and its chunks belong to the call, not to the answer."""

        def emit(kind: str, fields: dict[str, Any]) -> None:
            if kind in ("progress", "chunk"):
                bounded = {key: cut(value, _SAID_LENGTH) if isinstance(value, str) else value for key, value in fields.items()}
                self._say("progress", about, **bounded)
            else:
                self._context.say(kind, fields)

        return emit

    def _say(self, what: str, about: dict[str, str], **fields: Any) -> None:
        self._context.say("action", {"name": f"tool.call.{what}", **about, **fields})


class _ToolContext(Context):
    """The attempt, as a tool sees it: its calls are told apart by their keys."""

    __slots__ = ("_key",)

    def __init__(self, key: str, parent: Call, emit: Emit, deadline: datetime | None) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(task_id=parent.task_id, attempt=parent.attempt, emit=emit, deadline=deadline or parent.deadline, loop=loop)
        self._key = key

    @property
    def idempotency_key(self) -> str:
        return self._key


def function_names(apps: Iterable[str]) -> dict[str, str]:
    """The names under which a model calls these apps. A name has 64 letters, digits, '_' and '-' at most; ids that
    would be too long, or would be called the same, get a digest."""
    plain = {app: app.replace(".", "_") for app in apps}
    often = Counter(plain.values())
    return {
        app: name if often[name] == 1 and len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 9]}_{sha256(app.encode()).hexdigest()[:8]}"
        for app, name in plain.items()
    }


def echoed(call: ToolCall) -> dict[str, Any]:
    """The call as it is told back to the model, which providers check: its result says what was wrong with it."""
    try:
        msgspec.json.decode(call.arguments)
        arguments = safe_text(call.arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        arguments = "{}"
    name = _NOT_IN_NAMES.sub("_", call.name)[:_NAME_LENGTH] or "_"
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}


def cut(text: str, length: int) -> str:
    """The text, made safe, no longer than this, and saying so where it was longer."""
    return safe_text(text) if len(text) <= length else f"{safe_text(text[:length])}… (cut)"


def _tool(owner: str, name: str, app: str, definitions: Mapping[str, Definition]) -> Tool:
    import jsonschema_rs  # a runner without tools pays nothing for it

    definition = definitions.get(app)
    if definition is None:
        raise LoadError(f"{owner}: the tool {app!r} is not served by this runner")
    if definition.kind == "chat":
        raise LoadError(f"{owner}: the tool {app!r} is a chat app, and a model cannot call models")
    if definition.input_schema.get("type", "object") != "object":
        raise LoadError(f"{owner}: the tool {app!r} takes an input that is no object, which a model cannot call")
    try:
        validator = jsonschema_rs.validator_for(definition.input_schema, offline=True)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise LoadError(f"{owner}: the input_schema of the tool {app!r} is no JSON Schema: {str(error).splitlines()[0]}") from error
    return Tool(name=name, definition=definition, validator=validator)


def _told(outcome: Outcome) -> str:
    """What a model is told of a call's outcome."""
    if isinstance(outcome, Failure):
        error = {"type": cut(outcome.error_type, 128), "message": cut(outcome.message, _SAID_LENGTH)}
        return msgspec.json.encode({"error": error}).decode()
    media_type = outcome.media_type.partition(";")[0].strip().lower()
    if not _is_text(media_type):
        return f"({len(outcome.content)} bytes of {media_type})"
    # A character has four bytes at most, so nothing is decoded in vain, and what is too long stays too long.
    return cut(outcome.content[: 4 * _TOLD_LENGTH + 4].decode(errors="replace"), _TOLD_LENGTH)


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type.endswith(("json", "xml")) or media_type in ("application/x-ndjson", "application/javascript")
