"""Templates put values in, once, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from daybook_runner.references import MissingSetting, resolve
from daybook_runner.templates import MissingVariable, holes, render, render_json, render_url


@given(some.text(), some.text())
def test_what_is_put_in_is_never_read_again(one: str, other: str) -> None:
    assert render("{{a}}-{{ b }}", {"a": one, "b": other}) == f"{one}-{other}"


@given(some.text(min_size=1).filter(lambda text: text not in (".", "..")))
def test_a_value_adds_nothing_to_the_structure_of_a_url(value: str) -> None:
    url = render_url("https://x.org/a/{{v}}/b?c={{v}}", {"v": value})
    assert [url.count(mark) for mark in "/?=&#@ \\"] == [5, 1, 1, 0, 0, 0, 0, 0]


def test_values_that_are_no_text_go_in_as_json() -> None:
    assert render("{{a}} {{b}} {{c}}", {"a": 3, "b": True, "c": {"d": [None]}}) == '3 true {"d":[null]}'


def test_a_json_template_keeps_types() -> None:
    assert render_json({"n": "{{n}}", "s": "n={{n}}", "l": [{"x": "{{ n }}"}]}, {"n": 3}) == {
        "n": 3,
        "s": "n=3",
        "l": [{"x": 3}],
    }


@pytest.mark.parametrize("text", ["{a}", "{{ }", "{{}", '{"a":{"b":1}}', "}}{{"])
def test_other_braces_are_just_text(text: str) -> None:
    assert render(text, {}) == text
    assert holes(text) == ([], [])


def test_a_variable_that_is_missing() -> None:
    with pytest.raises(MissingVariable, match="'b'"):
        render("{{a}}{{b}}", {"a": "x"})


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SET", "env:TEST_OTHER")
    monkeypatch.delenv("TEST_OTHER", raising=False)
    assert resolve("env:TEST_SET") == "env:TEST_OTHER"
    assert resolve("env:TEST_OTHER|a|b") == "a|b"
    assert resolve("env:TEST_OTHER|") == ""
    assert resolve("plain env:TEST_OTHER") == "plain env:TEST_OTHER"
    with pytest.raises(MissingSetting, match="TEST_OTHER is not set"):
        resolve("env:TEST_OTHER")
