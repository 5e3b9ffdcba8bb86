# Every target makes the environment it needs; a second run installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --python $(BIN)/python --compile-bytecode
UV_VERSION := 0.13.9
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
LOCK := $(UV) pip compile -q pyproject.toml --no-header --no-annotate --no-emit-index-url --python-version 3.11
PLUGIN := plugins/livekit-plugins-rapido
SCAN := .venv-scan/bin/checkov
ARGS ?=
LIVEKIT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rapido/bin/livekit-server-v1.13.5/server

.PHONY: help demo up test check bench lock clean
.DEFAULT_GOAL := help

help: ## Lists the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

demo: $(DEMO) ## The main job, with its proof in out/demo
	@$(BIN)/rapido demo $(ARGS)

up: $(DEMO) ## The local cell in the foreground, until Ctrl-C
	@$(BIN)/rapido up $(ARGS)

test: $(DEV) $(SCAN) ## Every test, servers included; ARGS="-k name" narrows it
	@$(BIN)/python -m ops.cell.livekit_binary # minutes, once: more than a test has
	$(BIN)/python -m pytest $(ARGS)

check: $(DEV) ## Lint, format, types, import arrows, templates
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cfn-lint template.yaml infra/*.yaml

bench: $(DEV) ## Every bench, results under out/bench
	$(BIN)/rapido bench all $(ARGS)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: set PYTHON to one, as in: make test PYTHON=python3.12")'
	@command -v livekit-server >/dev/null || test -n "$$RAPIDO_LIVEKIT_SERVER" || test -x "$(LIVEKIT)" || command -v go >/dev/null \
	  || { echo "LiveKit is needed: put livekit-server on the PATH, or install Go 1.26 or newer to build it"; exit 1; }
	@echo "[setup] environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(DEMO): requirements-demo.txt pyproject.toml | $(UV)
	@echo "[setup] pinned packages of the control plane, a CPU worker and the demo"
	$(INSTALL) -r requirements-demo.txt
	$(INSTALL) --quiet --no-deps -e .
	@touch $@

$(DEV): requirements-dev.txt pyproject.toml | $(UV)
	@echo "[setup] pinned packages of a developer (torch among them, about 5 GB on disk)"
	$(INSTALL) -r requirements-dev.txt
	$(INSTALL) --quiet --no-deps -e .
	@touch $@ $(DEMO)

$(SCAN): requirements-scan.txt | $(UV)
	@echo "[setup] the security scanner, in an environment of its own"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-scan
	@$(UV) pip install --quiet --python .venv-scan/bin/python --compile-bytecode -r $<
	@touch $@

lock: $(DEV) ## Compiles pyproject.toml's pins into the requirements files
	$(LOCK) --extra dev -o requirements-dev.txt
	$(LOCK) --extra scan -o requirements-scan.txt
	$(LOCK) --extra control -c requirements-dev.txt -o requirements.txt
	$(LOCK) --extra worker-cpu -c requirements-dev.txt -o gpu_node/requirements-cpu.txt
	$(LOCK) --extra worker-gpu -c requirements-dev.txt -o gpu_node/requirements-gpu.txt
	$(LOCK) --extra demo -c requirements-dev.txt -o requirements-demo.txt
	$(subst pyproject.toml,$(PLUGIN)/pyproject.toml,$(LOCK)) --extra test -o $(PLUGIN)/requirements-test.txt

clean: ## Removes what was made
	rm -rf $(VENV) .venv-scan out .rapido build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
