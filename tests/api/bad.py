"""What the tests of bad input share: the namespace in which nothing else happens, and what is to be said of a fault."""

from typing import NamedTuple

import httpx2

STRICT = "strict"
JSON = {"Content-Type": "application/json"}


class Bad(NamedTuple):
    """A body, and what is said about it."""

    body: str | bytes
    status: int
    code: str
    pointer: str | None
    """Where the fault lies; None where there is no place to point at."""


def assert_problem(answer: httpx2.Response, status: int, code: str, pointer: str | None) -> None:
    """The answer is this problem, complete, and says nothing that is nobody's business."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), answer.text
    assert problem["type"] == f"urn:daybook:problem:{code}"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors", "hint"}
    assert [spot["pointer"] for spot in problem["errors"]] == ([] if pointer is None else [pointer])
    assert "Traceback" not in answer.text
    assert "asyncpg" not in answer.text
