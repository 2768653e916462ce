"""ASSURES. What a test of an app, or of Daybook itself, leans on. Nothing outside of tests imports it.

`given(…).when(…).then(…)` specifies what the rules answer to a command; `eventually` waits for what nobody announces.
"""

from .specification import NOON, Answer, Story, given
from .waiting import eventually

__all__ = ["NOON", "Answer", "Story", "eventually", "given"]
