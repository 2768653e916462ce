"""Settings by reference: `env:NAME`, or `env:NAME|default`, in an app's file stands for an environment variable of this
runner.

They are looked up when an attempt needs them, never earlier, so that no secret sits in a definition, a manifest, a hash
or a log. A variable that is set to nothing counts as not set.
"""

import os
import re
from typing import Final

_REFERENCE: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?:\|(.*))?", re.DOTALL)


class MissingSetting(Exception):
    """A variable that an app refers to is not set on this runner, and has no default."""


def is_reference(text: str) -> bool:
    """Whether the text is `env:NAME` or `env:NAME|default`."""
    return _REFERENCE.fullmatch(text) is not None


def resolve(text: str) -> str:
    """The text itself, or what it refers to. Raises MissingSetting."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return text
    name, default = match.groups()
    value = os.environ.get(name) or default
    if value is None:
        raise MissingSetting(f"the environment variable {name} is not set on this runner")
    return value
