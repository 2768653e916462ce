"""The banner: its commands can be copied, and it does not name an app that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from daybook_local.banner import banner, example_input
from daybook_local.probe import Served


def text(served: Served | None) -> str:
    return banner(url="http://127.0.0.1:8420", token="dbk_x", link="http://127.0.0.1:8420/ui/login#dbk_y", served=served, places={"data": "/here"})


def test_without_an_app_it_says_how_to_get_one() -> None:
    assert "No app is served" in text(None)
    assert "curl" not in text(None)


def test_the_page_comes_first_and_is_found_by_its_link() -> None:
    assert text(None).splitlines()[3] == "  page        http://127.0.0.1:8420/ui/login#dbk_y"
    assert "daybook login" in text(None)


def test_with_an_app_the_commands_carry_what_it_requires() -> None:
    schema = {"properties": {"url": {"type": "string"}, "width": {"type": "integer"}}, "required": ["url", "width"]}
    said = text(Served(app="images.resize", input_schema=schema))
    assert "daybook run images.resize url=text width:=1 --watch" in said
    assert """-d '{"app":"images.resize","input":{"url":"text","width":1}}'""" in said


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "examples": ["Ada"]}, "Ada"),
        ({"type": "string", "enum": ["small", "large"]}, "small"),
        ({"type": "boolean", "default": False}, False),
        ({"type": "array"}, []),
        ({"$ref": "#/$defs/Point"}, {}),
    ],
)
def test_a_value_of_the_example_comes_from_the_schema(schema: dict[str, Any], value: object) -> None:
    assert example_input({"properties": {"it": schema, "other": {}}, "required": ["it"]}) == {"it": value}
