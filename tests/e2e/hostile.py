"""What nobody sensible returns, raises or says, collected by hand; and the apps that do it.

Values are made anew for each use, since some of them can be used only once, and some are too large to keep.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from daybook import App, Context

app = App("h")
MADE: Final[list[Any]] = []
"""What hypothesis made for the apps of this process to return."""
MIB: Final = 1024 * 1024


class Outside(BaseException):
    """No Exception, so `except Exception` does not see it."""


class Spiteful(Exception):
    """Something that raises whenever it is asked for a word; to be returned or raised."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def __str__(self) -> str:
        raise self._error

    def __repr__(self) -> str:
        raise self._error

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise self._error


class Nameless(type):
    """Classes whose name is an error."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise Outside


class Unnamed(Exception, metaclass=Nameless):
    """An error whose type has no name."""


class Liar(str):
    """Text whose methods do not do what those of text do."""

    def __getitem__(self, _: Any) -> Any:
        raise Outside

    encode = replace = __iter__ = __len__ = __getitem__  # type: ignore[assignment]


class Trap(dict[Any, Any]):
    """A dict that cannot be walked through."""

    def items(self) -> Any:
        raise Outside

    __iter__ = keys = values = items


class Broken(msgspec.Struct):
    """A struct with a field that has no JSON form."""

    inner: Any


def _contains_itself() -> Any:
    value: list[Any] = [1]
    value += [value, {"again": value}]
    return value


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def _wide() -> Any:
    return {str(number): number for number in range(100_000)}


def _caused() -> Exception:
    first, second = ValueError("\x00"), ValueError("\ud800")
    first.__cause__, second.__cause__ = second, first
    return first


def _chain(length: int) -> Exception:
    error: Exception = ValueError("the first")
    for number in range(length):
        following = ValueError(f"number {number}")
        following.__context__ = error
        error = following
    return error


def _group() -> Exception:
    group: Exception = ValueError("\x00")
    for _ in range(50):
        group = ExceptionGroup("\ud800", [group])
    return group


def _wrong_syntax() -> Exception:
    error = SyntaxError("\x00", ("file\x00", 3, 10**9, "text\ud800", -5, -5))
    error.lineno = "three"  # type: ignore[assignment]
    return error


TEXTS: Final = (
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "\U0010ffff\ufffe\uffff",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "\r\n\x0b\x0c\x1c\x85\u2028\u2029",
    "\u202e\u2066 right to left",
    "%s {} {0.__class__} ${HOME} $(id) `id` {{value}} <script>alert(1)</script> '; DROP TABLE event; --",
    "\\u0000 \\ud800 \\",
    "z\u0351\u036b" * 500,
    "event: end\ndata: {}\n\n",
)

VALUES: Final[dict[str, Callable[[], Any]]] = {
    **{f"text {text[:8]!a}": partial(str, text) for text in TEXTS},
    "100 MB of text": lambda: "x" * 100 * MIB,
    "100 MB of bytes": lambda: bytes(100 * MIB),
    "100 MB of wide text": lambda: "\ud800" * 34 * MIB,
    "100 MB in a list": lambda: ["y" * MIB] * 100,
    "a little less than too much": lambda: "z" * 3 * MIB,
    "bytes that are no text": lambda: b"\xff\xfe\x00",
    "bytes in a list": lambda: [b"\xff", bytearray(b"\xfe"), memoryview(b"\xfd")],
    "NaN": lambda: [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.8e308],
    "NaN for a key": lambda: {math.nan: 1, math.inf: 2, -0.0: 3},
    "4300 digits": lambda: 10**4299,
    "5000 digits": lambda: 10**5000,
    "a million digits": lambda: [-(1 << 3_400_000)],
    "an integer for a key": lambda: {10**5000: 1, 2**64: 2},
    "keys of all kinds": lambda: {None: 1, True: 2, (1, 2): 3, b"\xff": 4, 1.5: 5, frozenset(): 6, object: 7},
    "keys that become the same": lambda: {f"{text}": text for text in ("\x00", "\ufffd", "\ud800")},
    "a key of 3 MB": lambda: {"k" * 3 * MIB: 1},
    "a hundred thousand keys": _wide,
    "itself": _contains_itself,
    "200 levels": lambda: _nested(200),
    "900 levels": lambda: _nested(900),
    "100000 levels": lambda: _nested(100_000),
    "an object": object,
    "a spiteful object": lambda: Spiteful(ValueError("\x00")),
    "one that ends the process": lambda: Spiteful(SystemExit(3)),
    "one that interrupts it": lambda: Spiteful(KeyboardInterrupt()),
    "one in a struct": lambda: Broken(Spiteful(Outside())),
    "one for a key": lambda: {Spiteful(Outside()): 1},
    "text that lies": lambda: [Liar("a\x00"), {Liar("b"): Liar("\ud800")}],
    "a dict that is a trap": lambda: Trap(a=1),
    "a generator": lambda: (number for number in range(3)),
    "a generator without an end": lambda: iter(int, 1),
    "a coroutine function": lambda: asyncio.sleep,
    "a class": lambda: Unnamed,
    "a module": lambda: json,
    "complex": lambda: {1j, 2j},
    "an exception": lambda: ValueError("returned, not raised"),
    "an ellipsis": lambda: ...,
}

ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    **{f"an error saying {text[:8]!a}": partial(ValueError, text) for text in TEXTS},
    "the end of the process": lambda: SystemExit("\x00"),
    "an interrupt": KeyboardInterrupt,
    "the exit of a generator": GeneratorExit,
    "the end of an iterator": lambda: StopIteration(1),
    "the end of an async iterator": StopAsyncIteration,
    "a cancellation": lambda: asyncio.CancelledError("\ud800"),
    "a timeout": TimeoutError,
    "an error outside of Exception": lambda: Outside(1),
    "no memory": MemoryError,
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "an error of decoding": lambda: UnicodeDecodeError("utf-8", b"\xff" * MIB, 0, 1, "\x00"),
    "an error of encoding": lambda: UnicodeEncodeError("utf-8", "\ud800" * MIB, 0, 1, "\ud800"),
    "an error of bytes": lambda: ValueError(b"\xff\x00", b"x" * MIB),
    "an error of 100 MB": lambda: ValueError("x" * 100 * MIB),
    "an error of 100 MB of surrogates": lambda: ValueError("\ud800" * 34 * MIB),
    "an error without words": lambda: Spiteful(SystemExit(3)),
    "an error with an interrupt for words": lambda: Spiteful(KeyboardInterrupt()),
    "an error outside for words": lambda: Spiteful(Outside()),
    "an error without a name": lambda: Unnamed("\x00"),
    "an error with a long name": lambda: type("E\x1b[31m\n" * 1_000, (Exception,), {})("\x00"),
    "an error without a name at all": type("", (Exception,), {}),
    "errors that cause each other": _caused,
    "a long chain": lambda: _chain(5_000),
    "a deep group": _group,
    "a wide group": lambda: ExceptionGroup("all", [ValueError("\x00" * 1_000) for _ in range(1_000)]),
    "wrong syntax": _wrong_syntax,
    "an error with strange notes": lambda: _with(ValueError("x"), __notes__=["\x00", 3, Spiteful(Outside())]),
    "an error with notes that are none": lambda: _with(ValueError("x"), __notes__=Spiteful(Outside())),
}


def _with(error: Exception, **attributes: Any) -> Exception:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _value(name: str) -> Any:
    if name in VALUES:
        return VALUES[name]()
    return ERRORS[name]() if name in ERRORS else MADE[int(name)]


def _raise(name: str) -> None:
    value = _value(name)
    if isinstance(value, BaseException):
        raise value
    # An attribute, since an error's arguments are asked for their repr as soon as it is shown.
    raise _with(ValueError(value), value=value)


def _say(name: str, ctx: Context) -> None:
    value = _value(name)
    for say in (
        lambda: ctx.progress(value, total=value, message=value),
        lambda: ctx.progress(1, message=value),
        lambda: ctx.log.info(value, key=value),
        lambda: ctx.log.bind(value=value).error("bound"),
        lambda: ctx.log.info("named", **{value: value}),
        lambda: ctx.chunk(value),
        lambda: print(value),
        lambda: ctx.log.exception(value),
    ):
        # What speaking refuses (a chunk that is no text, a name that is none) is the speaker's error, and said to him.
        with contextlib.suppress(BaseException):
            say()


@app.task
async def echo(value: Any = None) -> Any:
    """Return what came."""
    return value


@app.task(process=True)
def echo_in_process(value: Any = None) -> Any:
    """The same, in a process."""
    return value


@app.task
async def give(name: str) -> Any:
    """Return it."""
    return _value(name)


@app.task
def give_in_thread(name: str) -> Any:
    """The same, in a thread."""
    return _value(name)


@app.task(process=True)
def give_in_process(name: str) -> Any:
    """The same, in a process."""
    return _value(name)


@app.task
async def fail(name: str) -> None:
    """Raise it."""
    _raise(name)


@app.task
def fail_in_thread(name: str) -> None:
    """The same, in a thread."""
    _raise(name)


@app.task(process=True)
def fail_in_process(name: str) -> None:
    """The same, in a process."""
    _raise(name)


@app.task
async def say(name: str, ctx: Context) -> str:
    """Say it, in every way there is."""
    _say(name, ctx)
    return "said"


@app.task
def say_in_thread(name: str, ctx: Context) -> str:
    """The same, in a thread."""
    _say(name, ctx)
    return "said"


class Order(msgspec.Struct):
    """An input that is checked by code which fails in its own way."""

    name: str

    def __post_init__(self) -> None:
        raise Outside(self.name)


@app.task
async def checked(order: Order) -> str:
    """Never reached."""
    return order.name
