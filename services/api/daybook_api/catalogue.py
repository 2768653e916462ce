"""The apps, as submits need them: the latest manifest and a compiled validator of its input schema, cached until the log says otherwise."""

from typing import Any, Final

import jsonschema_rs

from daybook import ids
from daybook.domain.events import AppPublished
from daybook.log.envelope import Recorded
from daybook.log.postgres import Log

from .problems import Problem, Spot

_MOST_ERRORS: Final = 10


class Entry:
    """One app, ready to check inputs against."""

    __slots__ = ("_validator", "manifest")

    def __init__(self, manifest: AppPublished) -> None:
        self.manifest: Final = manifest
        schema = manifest.input_schema
        self._validator = jsonschema_rs.validator_for(schema) if schema else None

    def check(self, value: Any) -> None:
        """Raise a problem that points at every spot (up to ten) where the input does not fit."""
        if self._validator is None or self._validator.is_valid(value):
            return
        spots = []
        for error in self._validator.iter_errors(value):
            pointer = "/input" + "".join(f"/{_escaped(str(part))}" for part in error.instance_path)
            spots.append(Spot(pointer=pointer, message=error.message))
            if len(spots) == _MOST_ERRORS:
                break
        raise Problem("invalid-input", f"The input does not fit {self.manifest.app}: {spots[0].message}", errors=spots)


class Catalogue:
    """Finds apps by name; a cache over the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._entries: dict[tuple[str, str], Entry] = {}

    def told(self, recorded: Recorded) -> None:
        """Forget what has changed."""
        if isinstance(recorded.event, AppPublished):
            self._entries.pop((recorded.namespace, recorded.event.app), None)

    def known(self, namespace: str, app: str) -> Entry | None:
        """The app, if it is in the cache."""
        return self._entries.get((namespace, app))

    async def get(self, namespace: str, app: str) -> Entry:
        """The app. Raises the problem `unknown-app`."""
        entry = self._entries.get((namespace, app))
        if entry is None:
            recorded = await self._log.load(ids.derive_id("app", namespace, app)) if "\x00" not in app else []
            manifest = recorded[-1].event if recorded else None
            if not isinstance(manifest, AppPublished):
                hint = "`daybook app ls` lists what there is; an app appears when a runner that serves it starts."
                raise Problem("unknown-app", f"There is no app {app!r}.", errors=[Spot(pointer="/app", message="is not known")], hint=hint)
            entry = self._entries[namespace, app] = Entry(manifest)
        return entry


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
