"""From sources to apps: modules, folders, files, defaults; and an error that names the file and the reason."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest

from daybook.domain.events import Policy
from daybook.manifest import ChatApp, HttpApp, PythonFunction
from daybook_runner.loading import LoadError, load

CODE = """
from daybook.apps import App

app = App("{name}")


@app.task
async def run(text: str) -> str:
    return text
"""
CHAT = """
kind = "chat"
base_url = "env:CHAT_URL"
model = "tiny"
prompt = "Say {{text}}"
"""


@pytest.fixture(autouse=True)
def _own_folder_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def refused(*sources: str) -> str:
    with pytest.raises(LoadError) as error:
        load(sources)
    return str(error.value)


def test_a_module_where_one_stands() -> None:
    write("tools.py", CODE.format(name="tools"))
    assert list(load(["tools:app"])) == ["tools.run"]


def test_an_attribute_of_a_package_s_module() -> None:
    write("pack/__init__.py", "")
    write("pack/inner.py", CODE.format(name="deep") + "\nclass Holder:\n    it = app\n")
    assert list(load(["pack.inner:Holder.it"])) == ["deep.run"]


def test_a_folder_of_everything() -> None:
    write("mine/one.py", CODE.format(name="one"))
    write("mine/two.py", "from one_helper import NAME\n" + CODE.format(name="two"))
    write("mine/_left_out.py", "raise RuntimeError")
    write("mine/one_helper.py", "NAME = 1")
    write("mine/say.toml", CHAT)
    write("mine/get.json", '{"kind": "http", "url": "https://example.org/{{page}}"}')
    write("mine/notes.txt", "not an app")
    found = load(["mine"])
    assert sorted(found) == ["get", "one.run", "say", "two.run"]
    assert isinstance(found["one.run"].run, PythonFunction)
    assert isinstance(found["say"].run, ChatApp)
    assert isinstance(found["get"].run, HttpApp)
    assert [found[name].kind for name in sorted(found)] == ["http", "python", "chat", "python"]


def test_two_files_of_one_name_do_not_meet() -> None:
    write("a/same.py", CODE.format(name="a"))
    write("b/same.py", CODE.format(name="b"))
    assert sorted(load(["a", "b/same.py"])) == ["a.run", "b.run"]


def test_one_file_named_twice_is_one_app() -> None:
    write("a/same.py", CODE.format(name="a"))
    assert sorted(load(["a", "a/same.py"])) == ["a.run"]


def test_types_in_a_file_are_found_by_name() -> None:
    write(
        "typed.py",
        "from __future__ import annotations\nimport msgspec\nfrom daybook.apps import App\n"
        "class In(msgspec.Struct):\n    child: In | None = None\n    n: int = 1\n"
        "app = App('typed')\n@app.task\ndef run(wanted: In) -> int:\n    return wanted.n\n",
    )
    schema = load(["typed.py"])["typed.run"].input_schema
    assert jsonschema_rs.is_valid(schema, {"child": {"n": 2}})
    assert not jsonschema_rs.is_valid(schema, {"child": {"n": "2"}})


def test_without_sources_there_is_the_folder_apps_and_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load() == {}
    write("apps/say.toml", CHAT)
    write("site/plugin.py", CODE.format(name="plugin"))
    write("site/plugin-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    write("site/plugin-1.dist-info/entry_points.txt", "[daybook.apps]\nplugin = plugin:app\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert sorted(load()) == ["plugin.run", "say"]
    write("other.py", CODE.format(name="other"))
    assert sorted(load(["other.py"])) == ["other.run"]


def test_a_bad_entry_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("site/plugin-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    write("site/plugin-1.dist-info/entry_points.txt", "[daybook.apps]\nbroken = no_such_module:app\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert refused().startswith("the entry point broken = no_such_module:app cannot be imported")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "nowhere is no file, no folder, and not MODULE:APP"),
        ("nowhere.toml", "nowhere.toml is no file"),
        ("no_such_module:app", "no_such_module:app cannot be imported: ModuleNotFoundError"),
        ("json:app", "json:app does not exist"),
        ("json:dumps", "json:dumps is not an App"),
        ("empty", "empty holds no apps"),
        ("setup.cfg", "setup.cfg is neither a .py, a .toml nor a .json file"),
    ],
)
def test_what_is_no_source(source: str, says: str) -> None:
    write("setup.cfg", "")
    write("empty/readme.md", "")
    assert refused(source).startswith(says)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
        (CODE.format(name="a b"), "'a b.run' cannot be an app's id"),
        (CODE.format(name="a").replace("text: str", "text"), "a.run: the argument 'text' needs an annotation"),
    ],
)
def test_code_that_cannot_be_loaded(code: str, says: str) -> None:
    write("mine/bad.py", code)
    message = refused("mine")
    assert message.startswith("mine/bad.py cannot be imported: ")
    assert says in message


def test_an_id_that_is_defined_twice_names_both_places() -> None:
    write("a/x.py", CODE.format(name="same"))
    write("b/y.py", CODE.format(name="same"))
    assert refused("a", "b") == "same.run is defined twice: in a/x.py and in b/y.py"
    write("c/same.run.toml", CHAT)
    assert refused("a", "c") == "same.run is defined twice: in a/x.py and in c/same.run.toml"


def test_what_a_file_may_say() -> None:
    write(
        "say.toml",
        CHAT
        + 'app = "talk.say"\ndoc = "Says it."\nqueue = "slow"\npriority = 1\ntimeout = "1h30m"\n'
        + 'retry = { max_attempts = 4 }\ndelivery = "at_most_once"\n'
        + "[input_schema]\ntype = 'object'\nproperties.text = { type = 'string', maxLength = 3 }\n",
    )
    definition = load(["say.toml"])["talk.say"]
    assert definition.doc == "Says it."
    assert (definition.queue, definition.priority) == ("slow", 1)
    assert definition.policy == Policy(max_attempts=4, timeout_seconds=5400.0, delivery="at_most_once")
    assert definition.input_schema == {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 3}},
    }


def test_an_input_follows_from_the_templates() -> None:
    write("say.toml", CHAT.replace("Say {{text}}", "{{ text }} {{how}} {{text}}") + 'system = "As {{who}}"')
    write("get.toml", 'kind = "http"\nurl = "{{url}}"\njson = { a = ["{{deep}}"] }\nheaders.X = "{{head}} {{env:KEY}}"')
    found = load(["say.toml", "get.toml"])
    schema = found["say"].input_schema
    assert schema == {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("who", "text", "how")},
        "required": ["who", "text", "how"],
        "additionalProperties": False,
    }
    assert found["get"].input_schema["properties"] == {
        "url": {"type": "string", "format": "uri"},
        "head": {"type": "string"},
        "deep": {"type": "string"},
    }


HTTP = 'kind = "http"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind = \n", "Invalid value (at line 1, column 8)"),
        ("", "missing required field `kind`"),
        ('kind = "smtp"', "Invalid value 'smtp' - at `$.kind`"),
        (CHAT + 'modle = "x"', "unknown field `modle`"),
        (CHAT + "retry = { attempts = 3 }", "unknown field `attempts` - at `$.retry`"),
        (CHAT + "retry = { max_attempts = 0 }", "max_attempts lies between 1 and 100, which 0 does not - at `$.retry`"),
        (CHAT + 'temperature = "warm"', "Expected `float | null`, got `str` - at `$.temperature`"),
        (CHAT.replace("model", "# model"), "missing required field `model`"),
        (CHAT + 'timeout = "soon"', "'soon' is not a duration"),
        (CHAT + "priority = 9", "priority lies between 1 and 5"),
        (CHAT + 'queue = "a.b"', "'a.b' cannot be a queue's name"),
        (CHAT + 'app = "a b"', "'a b' cannot be an app's id"),
        (CHAT + 'api_key = "sk-123"', "api_key: write env:NAME"),
        (CHAT + 'system = "{{user.name}}"', "{{user.name}} is not a variable"),
        (CHAT + "input_schema = { properties = { txt = {} } }", "prompt: {{text}} is not among the properties"),
        (CHAT + 'system = "{{env:KEY}}"', "system: {{env:KEY}} may only stand in a header"),
        (HTTP + 'url = "https://x.org/?key={{env:KEY}}"', "url: {{env:KEY}} may only stand in a header"),
        (HTTP + 'url = "https://x.org"\nmethod = "BREW"', "Invalid enum value 'BREW' - at `$.method`"),
        (HTTP + 'url = "https://x.org"\nbody = "a"\njson = 1', "body and json cannot both be sent"),
        (HTTP + 'url = "https://x.org"\njson = ["{{a-b}}"]', "{{a-b}} is not a variable"),
    ],
)
def test_a_file_that_is_no_app_is_named_with_its_mistake(text: str, says: str) -> None:
    write("mine/app.toml", text)
    message = refused("mine")
    assert message.startswith("mine/app.toml: ")
    assert says in message


def test_bad_json_and_bad_bytes_are_named() -> None:
    write("a.json", '{"kind": "http",}')
    assert refused("a.json").startswith("a.json: JSON is malformed")
    Path("b.toml").write_bytes(b'kind = "\xff"')
    assert refused("b.toml").startswith("b.toml: ")


def test_versions_of_files_follow_what_they_say() -> None:
    def version(text: str) -> str:
        write("say.toml", text)
        return load(["say.toml"])["say"].version

    first = version(CHAT)
    assert version("# a comment\n" + CHAT) == first
    assert version(CHAT + "temperature = 0.5") != first
    assert version(CHAT.replace("Say", "Shout")) != first
