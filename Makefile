# Every target makes the environment it needs; a second run installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed
LOCK := $(UV) pip compile -q pyproject.toml --no-header --no-annotate --no-emit-index-url --python-version 3.11
ARGS ?=

.PHONY: help test check lock clean

help: ## Lists the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: set PYTHON to one, as in: make test PYTHON=python3.12")'
	@echo "[setup] environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@echo "[setup] pinned packages (torch among them, about 5 GB on disk)"
	$(UV) pip install --python $(BIN)/python -r requirements-dev.txt
	$(UV) pip install --python $(BIN)/python --quiet --no-deps -e .
	@touch $@

test: $(STAMP) ## Every test; ARGS="-k name" narrows it
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(STAMP) ## Compiles pyproject.toml's pins into the requirements files
	$(LOCK) --extra dev -o requirements-dev.txt
	$(LOCK) --extra control -c requirements-dev.txt -o requirements.txt
	$(LOCK) --extra worker-cpu -c requirements-dev.txt -o gpu_node/requirements-cpu.txt
	$(LOCK) --extra worker-gpu -c requirements-dev.txt -o gpu_node/requirements-gpu.txt
	$(LOCK) --extra demo -c requirements-dev.txt -o requirements-demo.txt

clean: ## Removes what was made
	rm -rf $(VENV) out build .pytest_cache .mypy_cache .ruff_cache
