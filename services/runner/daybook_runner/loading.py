"""From what is named on a command line to the apps that this runner serves.

A source is `MODULE:APP` (a module to import, and the name of an `App` in it), a file, or a folder. In a folder every
`*.py` file that does not begin with an underscore is imported and asked for its `App`s, and every `*.toml` and `*.json`
file is an app without code (`files.py`). Without sources there are the folder `./apps`, if it exists, and the installed
packages' entry points in the group `daybook.apps`.

It refuses, naming the file and the reason, whatever is not exactly one of these, and an id that is defined twice.
"""

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from daybook.apps import App
from daybook.domain.events import BUILT_IN
from daybook.manifest import Definition

from .files import LoadError, read_app_file

__all__ = ["LoadError", "load"]

DEFAULT_FOLDER: Final = Path("apps")
ENTRY_POINTS: Final = "daybook.apps"
_FILE_MODULE: Final = "_daybook_apps_"


class Found(NamedTuple):
    """A definition, and where it was found, in words."""

    definition: Definition
    place: str


def load(sources: Sequence[str] = ()) -> dict[str, Definition]:
    """The apps of these sources, or of the default ones, by id. Raises LoadError. It imports code: call it before the
    event loop runs."""
    found: dict[str, Found] = {}
    for each in _find_all(sources) if sources else _find_default():
        app = each.definition.app
        if app.startswith(BUILT_IN):
            raise LoadError(f"{each.place} defines {app}, and what begins with {BUILT_IN} is built in")
        earlier = found.setdefault(app, each)
        # The same object twice is one app seen from two sides: a module that imports another's App, a folder named
        # twice.
        if earlier.definition is not each.definition:
            raise LoadError(f"{app} is defined twice: in {earlier.place} and in {each.place}")
    return {app: each.definition for app, each in found.items()}


def _find_default() -> Iterator[Found]:
    if DEFAULT_FOLDER.is_dir():
        yield from _find_in_folder(DEFAULT_FOLDER)
    for entry in entry_points(group=ENTRY_POINTS):
        place = f"the entry point {entry.name} = {entry.value}"
        try:
            app = entry.load()
        except (Exception, SystemExit) as error:
            raise _unloadable(place, error) from error
        yield from _definitions([_checked(app, place)], place)


def _find_all(sources: Iterable[str]) -> Iterator[Found]:
    # A console script's own folder is what Python searches first, not the folder where the user stands and has his
    # modules.
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = list(_find_in_folder(path))
            if not found:
                raise LoadError(f"{source} holds no apps: neither a Python file with an App, nor a .toml or .json file")
            yield from found
        elif path.is_file():
            yield from _find_in_file(path)
        elif ":" in source and path.suffix not in (".py", ".toml", ".json"):
            yield from _find_in_module(source)
        else:
            raise LoadError(f"{source} is no file, no folder, and not MODULE:APP")


def _find_in_module(source: str) -> Iterator[Found]:
    name, _, attribute = source.partition(":")
    try:
        value: object = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _unloadable(source, error) from error
    for part in attribute.split("."):
        value = getattr(value, part, None)
    yield from _definitions([_checked(value, source)], source)


def _find_in_folder(folder: Path) -> Iterator[Found]:
    # Last, so that the files of a folder can import each other and shadow nothing.
    if (absolute := str(folder.resolve())) not in sys.path:
        sys.path.append(absolute)
    for path in sorted(folder.iterdir()):
        if path.suffix in (".py", ".toml", ".json") and not path.name.startswith(("_", ".")) and path.is_file():
            yield from _find_in_file(path)


def _find_in_file(path: Path) -> Iterator[Found]:
    if path.suffix == ".py":
        apps = [value for value in vars(import_file(path)).values() if isinstance(value, App)]
        yield from _definitions(apps, str(path))
    elif path.suffix in (".toml", ".json"):
        yield Found(read_app_file(path), str(path))
    else:
        raise LoadError(f"{path} is neither a .py, a .toml nor a .json file")


def is_file_module(name: str) -> bool:
    """Whether a module of this name is one of `import_file`."""
    return name.startswith(_FILE_MODULE)


def import_file(path: Path) -> ModuleType:
    """The file as a module whose private name cannot meet another file's, nor a package's. Raises LoadError."""
    name = f"{_FILE_MODULE}{sha256(str(path.resolve()).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} cannot be imported")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _unloadable(str(path), error) from error
    return module


def _definitions(apps: Iterable[App], place: str) -> Iterator[Found]:
    for app in apps:
        yield from (Found(definition, place) for definition in app.definitions.values())


def _checked(value: object, place: str) -> App:
    if not isinstance(value, App):
        raise LoadError(f"{place} is not an App" if value is not None else f"{place} does not exist")
    return value


def _unloadable(place: str, error: BaseException) -> LoadError:
    return LoadError(f"{place} cannot be imported: {type(error).__name__}: {error}")
