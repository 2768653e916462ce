"""The gate that every outcome goes through: past it texts are safe and bounded, results within the limit, JSON is JSON."""

import math
from typing import Any

import pytest

from daybook_runner.executors import Failure, Outcome, Success
from daybook_runner.executors.outcomes import failure_of, fit, outcome_of

LIMIT = 1_000


def failed(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


@pytest.mark.parametrize("result", ["x" * 999, "x" * 1_001, b"x" * 1_001, bytearray(1_001), memoryview(bytes(1_001)), ["x"] * 300, "\ud800" * 400])
def test_a_result_above_the_limit_is_a_failure_that_is_not_tried_again(result: Any) -> None:
    failure = failed(outcome_of(result, LIMIT))
    assert (failure.error_type, failure.retryable) == ("ResultTooLarge", False)
    assert "1000" in failure.message


@pytest.mark.parametrize("result", ["x" * 998, b"x" * 1_000, "\ud800" * 332])
def test_a_result_of_just_that_size_is_a_result(result: Any) -> None:
    outcome = outcome_of(result, LIMIT)
    assert isinstance(outcome, Success)
    assert len(outcome.content) in (998, 1_000)


def test_a_result_that_is_too_deep_is_a_failure() -> None:
    value: Any = 1
    for _ in range(256):
        value = [value]
    assert isinstance(outcome_of(value), Success)
    assert failed(outcome_of([value])).error_type == "UnserializableResult"
    assert failed(outcome_of({"[" * 300: [value]})).error_type == "UnserializableResult"


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "text/json"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b'"\xff"', b'"\\ud800"', b"NaN", b"[" * 300 + b"]" * 300, b"[" * 5_000 + b"]" * 5_000, b"{} {}", b"\xef\xbb\xbf{}"]
)
def test_what_calls_itself_json_and_is_not_is_bytes(media_type: str, content: bytes) -> None:
    assert fit(Success(content=content, media_type=media_type)) == Success(content=content, media_type="application/octet-stream")


@pytest.mark.parametrize("media_type", ["application/json", "text/plain; charset=latin-1", "image/png", "application/geo+json"])
def test_what_is_what_it_says_stays_so(media_type: str) -> None:
    outcome = Success(content=b'{"a": [1.5]}', media_type=media_type)
    assert fit(outcome) == outcome
    assert failed(fit(outcome, 5)).error_type == "ResultTooLarge"


@pytest.mark.parametrize(
    ("asked", "becomes"), [(None, None), (3.0, 3.0), (-1.0, 0.0), (math.nan, None), (math.inf, None), (-math.inf, None), (1e300, 30 * 86_400.0)]
)
def test_how_long_others_ask_us_to_wait_is_a_sensible_number(asked: float | None, becomes: float | None) -> None:
    assert failed(fit(Failure(error_type="E", message="m", retry_after_seconds=asked))).retry_after_seconds == becomes


def test_the_texts_of_a_failure_are_safe_and_bounded() -> None:
    failure = failed(fit(Failure(error_type="E\x00" * 100, message="\ud800" * 10_000, traceback="?\ud800" * 100_000, retryable=False)))
    assert failure.error_type == "E\ufffd" * 64
    assert failure.message == "\ufffd" * 4_000
    assert failure.traceback is not None
    assert len(failure.traceback.encode()) <= 32 * 1024
    assert "(cut)" in failure.traceback
    assert not failure.retryable
    assert failed(fit(Failure(error_type="", message=""))).error_type == "Error"


def test_an_error_whose_every_word_is_an_error_is_told_all_the_same() -> None:
    class Spiteful(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise KeyboardInterrupt

    failure = failure_of(Spiteful())
    assert (failure.error_type, failure.message) == ("Spiteful", "(cannot be shown: SystemExit)")
    assert failure.traceback == "(the traceback cannot be shown)"
