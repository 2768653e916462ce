"""How often, how long and with which pauses an app is to be tried: what may be said where it is defined, and what comes of it."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from daybook.apps import App, Retry
from daybook.domain.events import Policy
from daybook.manifest import HttpApp


def policy(**options: Any) -> Policy:
    app = App("tests")
    app.task(name="it", **options)(lambda: None)
    return app.definitions["tests.it"].policy


def test_a_policy_in_full() -> None:
    retry = Retry(max_attempts=5, backoff="2s", max_backoff=timedelta(minutes=1).total_seconds(), factor=3, non_retryable=("ValueError",))
    full = policy(timeout="5m", retry=retry, queue_ttl=timedelta(hours=1), deadline="1d")
    assert full == Policy(
        max_attempts=5,
        timeout_seconds=300.0,
        backoff_seconds=2.0,
        backoff_factor=3.0,
        backoff_max_seconds=60.0,
        non_retryable=("ValueError",),
        queue_ttl_seconds=3600.0,
        deadline_seconds=86400.0,
    )


def test_what_is_as_usual_is_no_part_of_the_manifest() -> None:
    """Else the versions of all apps would change with every new word of the policy."""
    usual = Retry(backoff=1, max_backoff="300s", factor=2, non_retryable=())
    assert msgspec.json.encode(policy(retry=usual)) == b"{}"
    assert msgspec.json.encode(policy(retry=Retry(max_attempts=3))) == b'{"max_attempts":3}'
    assert msgspec.json.encode(Retry(max_attempts=3)) == b'{"max_attempts":3}'


def test_an_app_file_says_the_same() -> None:
    text = b"""
    kind = "http"
    url = "https://example.org"
    timeout = "30s"
    queue_ttl = "1h"
    deadline = "1d"
    retry = { max_attempts = 4, backoff = "500ms", max_backoff = "10s", factor = 1.5, non_retryable = ["Timeout"] }
    """
    file = msgspec.toml.decode(text, type=HttpApp)
    assert file.policy() == Policy(
        max_attempts=4,
        timeout_seconds=30.0,
        backoff_seconds=0.5,
        backoff_factor=1.5,
        backoff_max_seconds=10.0,
        non_retryable=("Timeout",),
        queue_ttl_seconds=3600.0,
        deadline_seconds=86400.0,
    )
    with pytest.raises(msgspec.ValidationError, match=r"factor lies between 1 and 100.*retry"):
        msgspec.toml.decode(text.replace(b"1.5", b"0.5"), type=HttpApp)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"backoff": "soon"}, "'soon' is not a duration"),
        ({"max_backoff": -1}, "a duration lies between"),
        ({"factor": 0.9}, "factor lies between 1 and 100"),
        ({"factor": float("nan")}, "factor lies between 1 and 100"),
        ({"non_retryable": "ValueError"}, "each by its name"),
        ({"non_retryable": (ValueError,)}, "such as 'ValueError'"),
        ({"non_retryable": ("",)}, "1 to 128 characters"),
        ({"non_retryable": ("x",) * 33}, "32 types of errors"),
    ],
)
def test_a_retry_that_cannot_be_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Retry(**fields)


@pytest.mark.parametrize("attempts", [0, 101])
def test_attempts_are_bounded(attempts: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 100"):
        Retry(max_attempts=attempts)
