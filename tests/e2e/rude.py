"""What nobody sensible sends, returns or answers, made by hypothesis: many examples, the same ones each time."""

import json
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as some
from tests.e2e.hostile import TEXTS, Broken, Liar, Outside, Spiteful

RUDE_TEXTS: Final = some.text(some.characters(codec=None), max_size=30) | some.sampled_from(TEXTS)
_PLAIN: Final = some.none() | some.booleans() | some.integers() | some.floats() | RUDE_TEXTS
ANY_JSON: Final = some.recursive(_PLAIN, lambda inner: some.lists(inner, max_size=5) | some.dictionaries(RUDE_TEXTS, inner, max_size=5), max_leaves=12)
_LEAVES: Final = _PLAIN | some.binary(max_size=20) | some.complex_numbers() | some.decimals() | some.datetimes() | some.uuids() | some.builds(object)
_KEYS: Final = RUDE_TEXTS | some.integers() | some.floats() | some.binary(max_size=9) | some.none() | some.tuples(some.integers()) | some.booleans()
_SPITE: Final = some.sampled_from([ValueError(), SystemExit(3), Outside(), KeyboardInterrupt()]).map(Spiteful)
ANYTHING: Final = some.recursive(
    _LEAVES | _SPITE | RUDE_TEXTS.map(Liar),
    lambda inner: (
        some.lists(inner, max_size=5) | some.dictionaries(_KEYS, inner, max_size=5) | some.tuples(inner, inner) | inner.map(Broken) | inner.map(ValueError)
    ),
    max_leaves=12,
)
_FIELDS: Final = ("app", "queue", "priority", "labels", "timeout", "retry", "delivery", "idempotency_key", "input", "unknown", "delay", "run_at")


@some.composite
def lines(draw: some.DrawFn, name: str = "h.echo", values: some.SearchStrategy[Any] = ANY_JSON) -> bytes:
    """One line of a batch: a task with a rude input, or with another field that is, or with bytes that came by accident."""
    rude = json.dumps(draw(values), ensure_ascii=draw(some.booleans())).encode("utf-8", "surrogatepass")
    body = b'{"app":"%s","retry":{"max_attempts":1},"input":{"value":%s}}' % (name.encode(), rude)
    if draw(some.integers(0, 3)) == 0:
        field = draw(some.sampled_from(_FIELDS)).encode()
        body = b'{"app":"h.echo","labels":{"other":"yes"},"%s":%s}' % (field, rude)
    if draw(some.integers(0, 5)) == 0:
        place = draw(some.integers(0, len(body)))
        body = body[:place] + draw(some.binary(min_size=1, max_size=4)) + body[place + draw(some.integers(0, 2)) :]
    return body.replace(b"\n", b" ")


@some.composite
def answers(draw: some.DrawFn) -> tuple[str, bytes]:
    """What a stranger answers: a media type and a body."""
    rude = json.dumps(draw(ANY_JSON), ensure_ascii=draw(some.booleans())).encode("utf-8", "surrogatepass")
    body = draw(some.sampled_from([rude, rude[1:], b"", b"[" * 5_000 + b"]" * 5_000]) | some.binary(max_size=50))
    known = some.sampled_from(["application/json", "application/problem+json; charset=latin-1", "text/html", "text/plain; charset=x", "image/png"])
    return draw(known | some.text(some.characters(min_codepoint=32, max_codepoint=126), max_size=30)), body


def made(strategy: some.SearchStrategy[Any], count: int, number: int = 1) -> list[Any]:
    """So many examples, the same ones for the same number."""
    found: list[Any] = []
    patient = settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)

    @seed(number)
    @patient
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found[:count]
