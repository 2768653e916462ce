"""Chat apps whose model calls tools, which are other apps: what the model is offered and told, what watchers hear, and every way in which a call goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
from tests.runner.chat_endpoint import DONE, USAGE, asked, calling, chat_app, counted, delta, fragment, piece, rounds
from tests.runner.chat_house import ANSWER, House, Meeting, math

from daybook import Context
from daybook.context import RecordedContext
from daybook.manifest import Definition
from daybook_runner.executors import Executors, Failure, Success
from daybook_runner.executors.chat_tools import check_tools, function_names
from daybook_runner.loading import LoadError, load

if TYPE_CHECKING:
    from tests.runner.conftest import LocalServer


@pytest_asyncio.fixture
async def executors() -> AsyncIterator[Executors]:
    async with Executors(http_allow="127.0.0.0/8") as made:
        yield made


@pytest.fixture
def house(executors: Executors, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("TEST_CHAT_URL", server.url + "/v1")
    monkeypatch.setenv("TEST_CHAT_KEY", "sk-very-secret")
    return House(executors, tmp_path)


def actions(context: RecordedContext) -> list[dict[str, Any]]:
    return [message.fields for message in context.said if message.type == "action"]


async def test_a_tool_is_offered_called_and_answered(house: House, server: LocalServer) -> None:
    asks = [
        piece("Let me see. "),
        delta({"tool_calls": [fragment(0, call="id_0", name="math_add")]}),
        delta({"tool_calls": [fragment(0, '{"a": 2')]}),
        delta({"tool_calls": [fragment(0, ', "b": 3}')]}),
        piece(None, "tool_calls"),
        counted(),
        DONE,
    ]
    server.answer = rounds(server, asks, ANSWER)
    context = Context.for_test()
    outcome = await house.run(context=context, tools=["math.add"])
    assert isinstance(outcome, Success), outcome
    assert msgspec.json.decode(outcome.content) == {
        "text": "So it is.",
        "model": "tiny-1",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 27, "completion_tokens": 4, "total_tokens": 31},
    }
    first, second = asked(server, 1), asked(server, 2)
    schema = math.definitions["math.add"].input_schema
    assert first["tools"] == [{"type": "function", "function": {"name": "math_add", "description": "Add two numbers.", "parameters": schema}}]
    assert second["tools"] == first["tools"]
    function = {"name": "math_add", "arguments": '{"a": 2, "b": 3}'}
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": "Let me see. ", "tool_calls": [{"id": "id_0", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "id_0", "content": "5"},
    ]
    about = {"id": "id_0", "tool": "math.add"}
    assert context.said == [
        ("chunk", {"text": "Let me see. "}),
        ("action", {"name": "tool.call.start", **about, "arguments": '{"a": 2, "b": 3}'}),
        ("action", {"name": "tool.call.end", **about, "ok": True, "error_type": None, "result": "5"}),
        ("chunk", {"text": "So it is."}),
        ("action", {"name": "usage", "prompt_tokens": 27, "completion_tokens": 4, "total_tokens": 31, "rounds": 2, "complete": True}),
    ]


async def test_calls_run_side_by_side_and_are_answered_in_order(house: House, server: LocalServer) -> None:
    meeting = Meeting(8)
    house.served |= meeting.app.definitions
    numbers = range(20)
    server.answer = rounds(server, calling(*[("meeting_come", f'{{"number": {n}}}') for n in numbers]), ANSWER)
    async with asyncio.timeout(10):
        assert isinstance(await house.run(), Success)
    assert [message["content"] for message in asked(server, 2)["messages"] if message["role"] == "tool"] == [str(n) for n in numbers]
    assert meeting.most == 8


@pytest.mark.parametrize(
    "fragments",
    [
        # Numbered as OpenAI does, and mixed.
        [fragment(0, call="a", name="math_add"), fragment(1, call="b", name="math_root"), fragment(1, '{"x":4}'), fragment(0, '{"a":1,"b":1}')],
        # All of them number 0, told apart by their ids.
        [fragment(0, '{"a":1,"b":1}', call="a", name="math_add"), fragment(0, '{"x":4}', call="b", name="math_root")],
        # Without numbers.
        [fragment(None, '{"a":1,', call="a", name="math_add"), fragment(None, '"b":1}'), fragment(None, '{"x":4}', call="b", name="math_root")],
        # The id and the name with every fragment.
        [
            fragment(0, '{"a":1,', call="a", name="math_add"),
            fragment(0, '"b":1}', call="a", name="math_add"),
            fragment(1, '{"x":4}', call="b", name="math_root"),
        ],
        # Without ids.
        [fragment(0, '{"a":1,"b":1}', name="math_add"), fragment(1, '{"x":4}', name="math_root")],
    ],
)
async def test_the_ways_in_which_providers_send_calls(house: House, server: LocalServer, fragments: list[Any]) -> None:
    server.answer = rounds(server, [*(delta({"tool_calls": [each]}) for each in fragments), piece(None, "stop")], ANSWER)
    assert isinstance(await house.run(), Success)
    messages = asked(server, 2)["messages"][2:]
    ids = [call["id"] for call in messages[0]["tool_calls"]]
    assert [(message["tool_call_id"], message["content"]) for message in messages[1:]] == [(ids[0], "2"), (ids[1], "2.0")]
    assert len(set(ids)) == 2
    assert all(ids)


@pytest.mark.parametrize(
    ("name", "arguments", "error_type", "says"),
    [
        ("math_sub", "{}", "UnknownTool", "there is no tool 'math_sub'; the tools are: math_add, math_root"),
        ("math.add", "{}", "UnknownTool", "there is no tool 'math.add'"),
        ("", "{}", "UnknownTool", "there is no tool ''"),
        ("n\x00" * 999, "{}", "UnknownTool", "there is no tool"),
        ("math_add", '{"a": 1', "InvalidInput", "the arguments are no JSON: "),
        ("math_add", '{"a": NaN, "b": 1}', "InvalidInput", "the arguments are no JSON: "),
        ("math_add", "[" * 3000 + "]" * 3000, "InvalidInput", "the arguments are no JSON: "),
        ("math_add", "[1, 2]", "InvalidInput", "no JSON object"),
        ("math_add", '{"a": "\\u0000", "b": 1}', "InvalidInput", "there is a NUL in them"),
        ("math_add", '{"a": "\\ud800", "b": 1}', "InvalidInput", "the arguments are no JSON: "),
        ("math_add", "", "InvalidInput", '"a" is a required property'),
        ("math_add", '{"a": 1, "b": "2"}', "InvalidInput", "do not fit the schema, at /b: "),
        ("math_add", '{"a": 1, "b": 1, "c": 1}', "InvalidInput", "do not fit the schema"),
        ("math_root", '{"x": -1}', "ValueError", "-1.0 has no root\ufffd"),
        ("bench_hang", "{}", "Timeout", "the tool took longer than 0.05 seconds"),
    ],
)
async def test_what_is_wrong_with_a_call_is_told_to_the_model(house: House, server: LocalServer, name: str, arguments: str, error_type: str, says: str) -> None:
    error = msgspec.json.decode(await house.told(server, name, arguments))["error"]
    assert (error["type"], says in error["message"]) == (error_type, True), error
    assert len(error["message"]) < 2_100


async def test_a_call_that_providers_would_refuse_is_told_back_in_a_form_they_take(house: House, server: LocalServer) -> None:
    await house.told(server, "bad name!" * 20, '{"a": ')
    function = asked(server, 2)["messages"][2]["tool_calls"][0]["function"]
    assert function == {"name": ("bad_name_" * 20)[:64], "arguments": "{}"}


async def test_results_are_bounded(house: House, server: LocalServer) -> None:
    context = Context.for_test()
    server.answer = rounds(server, calling(("bench_much", "{}"), ("bench_binary", "")), ANSWER)
    await house.run(context=context)
    much, binary = (message["content"] for message in asked(server, 2)["messages"][-2:])
    assert (len(much), much[-8:]) == (32 * 1024 + 7, "x… (cut)")
    assert binary == "(2 bytes of application/octet-stream)"
    ended = [fields for fields in actions(context) if fields["name"] == "tool.call.end"]
    assert sorted(len(fields["result"]) for fields in ended) == [len(binary), 2_007]


async def test_what_a_tool_says_belongs_to_its_call(house: House, server: LocalServer) -> None:
    context = Context.for_test(attempt=3)
    server.answer = rounds(server, calling(("bench_speak", "{}")), calling(("bench_speak_in_thread", "{}")), ANSWER)
    assert isinstance(await house.run(context=context), Success)
    said = [fields for fields in actions(context) if fields["name"] == "tool.call.progress"]
    about = {"name": "tool.call.progress", "id": "id_0", "tool": "bench.speak"}
    assert said == [
        about | {"current": 1, "total": 2, "percent": 50.0, "message": "half"},
        about | {"text": "c" * 2000 + "… (cut)"},
        about | {"tool": "bench.speak_in_thread", "current": 1, "total": None, "percent": None, "message": ""},
    ]
    assert [fields["message"] for kind, fields in context.said if kind == "log"] == ["spoke"]
    assert [fields["text"] for kind, fields in context.said if kind == "chunk"] == ["So it is."]
    assert asked(server, 3)["messages"][-1]["content"] == "true"  # it knows its attempt


async def test_each_call_has_a_key_of_its_own_which_another_attempt_repeats(house: House, server: LocalServer) -> None:
    (house.folder / "post.json").write_bytes(msgspec.json.encode({"kind": "http", "method": "POST", "url": server.url + "/hook", "json": "{{what}}"}))
    house.served |= load([str(house.folder / "post.json")])
    asks = server.streaming(*calling(("post", '{"what":"a"}'), ("post", '{"what":"b"}'), ("post", '{"what":"a"}')))
    final, hook = server.streaming(*ANSWER), server.answering(body=b"done")

    def answer(request: Any) -> AsyncIterator[bytes]:
        if request.target == "/hook":
            return hook(request)
        return (final if b'"tool_call_id"' in request.body else asks)(request)

    keys = []
    for attempt in (1, 2):
        server.requests.clear()
        server.answer = answer
        assert isinstance(await house.run(attempt=attempt), Success)
        keys.append(sorted((request.target, request.headers["idempotency-key"]) for request in server.requests))
    assert len(set(keys[0])) == 5
    assert keys[0] == keys[1]


async def test_a_function_is_told_the_task_and_the_key_of_its_call(house: House, server: LocalServer) -> None:
    server.answer = rounds(server, calling(("bench_who", "{}"), ("bench_who", "{}")), calling(("bench_who", "{}")), ANSWER)
    assert isinstance(await house.run(), Success)
    told = [msgspec.json.decode(message["content"]) for message in asked(server, 3)["messages"] if message["role"] == "tool"]
    assert [task_id for task_id, _ in told] == ["tsk_7"] * 3
    assert len({"tsk_7"} | {key for _, key in told}) == 4


async def test_rounds_are_bounded(house: House, server: LocalServer) -> None:
    context = Context.for_test()
    server.answer = rounds(server, calling(("math_add", '{"a": 1, "b": 1}')))
    outcome = await house.run(context=context, max_rounds=3)
    assert isinstance(outcome, Failure)
    assert (outcome.error_type, outcome.retryable) == ("TooManyRounds", False)
    assert "still asks for tools in round 3, the last one" in outcome.message
    assert len(server.requests) == 3
    assert [fields["name"] for fields in actions(context)] == ["tool.call.start", "tool.call.end"] * 2 + ["usage"]
    assert actions(context)[-1]["total_tokens"] == 3 * USAGE["total_tokens"]


async def test_a_cancel_ends_the_tools_and_says_what_was_used(house: House, server: LocalServer) -> None:
    meeting = Meeting(3)
    house.served |= meeting.app.definitions
    heard: list[dict[str, Any]] = []
    begun = asyncio.Event()

    def hear(kind: str, fields: dict[str, Any]) -> None:
        heard.append(fields)
        begun.set()

    server.answer = rounds(server, calling(("meeting_come", '{"number": 1}')))
    running = asyncio.create_task(house.run(context=Context(task_id="tsk_7", attempt=3, emit=hear)))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [(fields["name"], fields.get("error_type")) for fields in heard] == [("tool.call.start", None), ("tool.call.end", "Cancelled"), ("usage", None)]
    assert {key: heard[-1][key] for key in USAGE} == USAGE


def test_names() -> None:
    assert function_names(["hello.greet", "a-b.c_d"]) == {"hello.greet": "hello_greet", "a-b.c_d": "a-b_c_d"}
    names = function_names(["a.b", "a_b", "x" * 64, "y" * 65, "z" * 128])
    assert len(set(names.values())) == 5
    assert all(len(name) <= 64 and name.replace("_", "").replace("-", "").isalnum() for name in names.values())
    assert names["x" * 64] == "x" * 64


def refused(folder: Path, *served: Definition, **changes: Any) -> str:
    say = chat_app(folder, **changes)
    with pytest.raises(LoadError) as caught:
        check_tools({each.app: each for each in (say, *served)})
    return str(caught.value)


def test_tools_that_cannot_be_called_are_refused_at_the_start(tmp_path: Path) -> None:
    assert refused(tmp_path, tools=["math.add"]) == "say: the tool 'math.add' is not served by this runner"
    assert refused(tmp_path, tools=["say"]) == "say: the tool 'say' is a chat app, and a model cannot call models"
    add = math.definitions["math.add"]
    for schema, says in (({"type": "array"}, "takes an input that is no object"), ({"properties": {"a": {"type": "objekt"}}}, "is no JSON Schema")):
        tool = Definition(app="tool", kind="python", run=add.run, input_schema=schema)
        assert says in refused(tmp_path, tool, tools=["tool"])
    check_tools({"say": chat_app(tmp_path, tools=["math.add"]), **math.definitions})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tools": ["a", "a"]}, "each named once"),
        ({"tools": [f"a{n}" for n in range(129)]}, "128 apps at most"),
        ({"max_rounds": 0}, "max_rounds lies between 1 and 100"),
        ({"idle_timeout": 0}, "an idle_timeout of 0"),
        ({"idle_timeout": "soon"}, "'soon' is not a duration"),
    ],
)
def test_what_a_file_cannot_say_of_tools(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        chat_app(tmp_path, **changes)


async def test_an_app_with_tools_where_none_are_known_fails_and_says_so(house: House) -> None:
    outcome = await house.run(tools=["nowhere.to.be.found"])
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "UnknownTool"
    assert "'nowhere.to.be.found' is not served by this runner" in outcome.message
