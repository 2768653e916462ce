"""The apps, as submits need them: the latest manifest and a compiled validator of its input schema, cached until the log says otherwise."""

from itertools import islice
from typing import Any, Final

import jsonschema_rs

from daybook import ids
from daybook.domain.events import BUILT_IN, AppPublished
from daybook.log.envelope import Recorded
from daybook.log.postgres import Log

from .bodies import escaped
from .problems import Problem, Spot

_MOST_ERRORS: Final = 10
_LONGEST_MESSAGE: Final = 300


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
        for error in islice(self._validator.iter_errors(value), _MOST_ERRORS):
            pointer = "/input" + "".join(f"/{escaped(str(part))}" for part in error.instance_path)
            # A message quotes what it is about, which may be all of the input.
            message = error.message if len(error.message) <= _LONGEST_MESSAGE else f"{error.message[:_LONGEST_MESSAGE]}…"
            spots.append(Spot(pointer=pointer, message=message))
        raise Problem("invalid-input", f"The input does not fit {self.manifest.app}: {spots[0].message}", errors=spots)


class Catalogue:
    """Finds apps by name; a cache over the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._entries: dict[tuple[str, str], Entry] = {}
        self._changes = 0

    def told(self, recorded: Recorded) -> None:
        """Forget what has changed."""
        if isinstance(recorded.event, AppPublished):
            self._changes += 1
            self._entries.pop((recorded.namespace, recorded.event.app), None)

    async def get(self, namespace: str, app: str) -> Entry:
        """The app. Raises the problem `unknown-app`."""
        entry = self._entries.get((namespace, app))
        if entry is None:
            changes = self._changes
            # What is built in is nobody's to submit to, whatever somebody's runner says it serves.
            can_be = "\x00" not in app and not app.startswith(BUILT_IN)
            recorded = await self._log.load(ids.derive_id("app", namespace, app)) if can_be else []
            manifest = recorded[-1].event if recorded else None
            if not isinstance(manifest, AppPublished):
                hint = "`daybook app ls` lists what there is; an app appears when a runner that serves it starts."
                raise Problem("unknown-app", f"There is no app {app!r}.", errors=[Spot(pointer="/app", message="is not known")], hint=hint)
            entry = Entry(manifest)
            if changes == self._changes:
                # Had an app been published while this one was read, it could be this one, and nobody would say so again.
                self._entries[namespace, app] = entry
        return entry
