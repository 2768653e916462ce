"""Which facts one reader of the feed wants and may see. Nobody is told of another namespace, nor, unless they are an admin,
of what is another owner's; what is asked for can only be less than that. As in lists, what built-in apps do is left out
unless it is asked for."""

from typing import Final

import msgspec

from daybook import ids
from daybook.access import Principal
from daybook.domain.events import BUILT_IN

from .. import lists
from ..requests import refused
from .facts import GROUPS, NAMES, Fact

PARAMETERS: Final = frozenset({"app", "owner", "task", "schedule", "types"})


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is told to whom. None is anything; `owner` is None for an admin who asks for everybody's."""

    namespace: str
    owner: str | None
    app: str | None = None
    task: str | None = None
    schedule: str | None = None
    names: frozenset[str] | None = None
    groups: frozenset[str] = frozenset()
    nobodys: bool = True
    """Whether facts about apps are told, which belong to nobody. They are left out where an owner is asked for by name."""

    def fits(self, fact: Fact) -> bool:
        """Whether this fact is told."""
        if fact.namespace != self.namespace:
            return False
        if fact.owner is None:
            if not self.nobodys:
                return False
        elif self.owner is not None and fact.owner != self.owner:
            return False
        if self.app is not None:
            if fact.app != self.app:
                return False
        elif self.task is None and fact.app.startswith(BUILT_IN):
            return False
        if self.task is not None and fact.subject != self.task:
            return False
        if self.schedule is not None and fact.schedule != self.schedule:
            return False
        return self.names is None or fact.name in self.names or fact.group in self.groups


def wanted_of(who: Principal, given: dict[str, str]) -> Wanted:
    """What the query parameters ask for. Raises problems that name the parameter, and `forbidden` for another's things."""
    names, groups = _types(given.get("types"))
    return Wanted(
        namespace=who.namespace,
        owner=lists.owner_of(who, given.get("owner")),
        app=given.get("app"),
        task=_id("task", "tsk", given.get("task")),
        schedule=_id("schedule", "sch", given.get("schedule")),
        names=names,
        groups=groups,
        nobodys="owner" not in given,
    )


def _types(text: str | None) -> tuple[frozenset[str] | None, frozenset[str]]:
    if text is None:
        return None, frozenset()
    asked = frozenset(name.strip() for name in text.split(","))
    for name in sorted(asked):
        if name not in NAMES and name not in GROUPS:
            hint = f"There are {', '.join(sorted(NAMES))}; and {', '.join(sorted(GROUPS))}, which stand for all of theirs."
            raise refused("types", f"does not know {name!r}", hint=hint)
    return asked & NAMES, asked & GROUPS


def _id(parameter: str, prefix: ids.Prefix, text: str | None) -> str | None:
    if text is not None and ids.parse(prefix, text) is None:
        raise refused(parameter, f"is a {parameter}'s id, not {text!r}")
    return text
