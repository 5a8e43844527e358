# What a user or CI types. Needs make, CPython 3.11 or 3.12 and a network; everything else is brought along.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PACKAGES := schemas adapters triton_models producers consumers training clinstream
TESTS := $(wildcard $(addprefix tests/,unit contract property integration faults e2e))

# Compiles once what every process imports, so that the first start is as quick as the next ones.
WARM := import clinstream.bootstrap_stack, consumers.app, consumers.pipelines, producers.dicom, producers.http

.PHONY: demo test check bench up down setup help
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

demo: .venv/train.done ## start everything, send real samples through the real doors, show the results
	@$(BIN)/clinstream demo

test: .venv/dev.done setup ## the whole test suite, cheap tests first; three processes, since most tests wait
	@$(BIN)/python -m pytest -q -n 3 --no-loadscope-reorder $(TESTS)

check: .venv/dev.done ## format, lint, types, floor plan, packaged weights
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy $(PACKAGES) tests
	@$(BIN)/lint-imports
	@$(BIN)/python -m triton_models.packaged

bench: .venv/serve.done ## measure speed; each figure beside its baseline of the same run
	@for name in imaging vitals cgm stat restart dicom predictions storm hospital door; do $(BIN)/clinstream bench $$name || exit 1; done

up: .venv/serve.done ## start the stack
	@$(BIN)/clinstream up

down: .venv/serve.done ## stop the stack
	@$(BIN)/clinstream down

setup: .venv/serve.done ## download what the embedded servers need
	@$(BIN)/clinstream setup

# Each *.done file is newer than what it was made from, so a second run starts at once.
.venv/uv.done:
	@if [ -z "$(PYTHON)" ]; then echo "clinstream needs CPython 3.11 or 3.12; install one, or set PYTHON=/path/to/it." >&2; exit 1; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@touch $@

.venv/project.done: pyproject.toml .venv/uv.done
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.venv/serve.done: requirements/serve.lock .venv/project.done
	@echo "Installing what serving needs"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode --requirements requirements/serve.lock
	@$(BIN)/python -c "$(WARM)"
	@touch $@

.venv/train.done: requirements/train.lock .venv/serve.done
	@echo "Installing what training needs"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirements requirements/train.lock
	@touch $@

.venv/dev.done: requirements/dev.lock .venv/serve.done
	@echo "Installing what training and tests need"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirements requirements/dev.lock
	@touch $@
