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
SAM := .venv-sam/bin/sam
LAMBDA := .venv-lambda/.installed
PACKAGE := .aws-sam/build/template.yaml
# Neither an account nor a word of who runs this leaves the machine.
NO_ACCOUNT := env -u AWS_PROFILE AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none \
  AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true SAM_CLI_TELEMETRY=0
# What the functions run; folders too, since one that lost a file is newer.
SHIPPED := app.py requirements.txt requirements-planner.txt $(shell find control -name __pycache__ -prune -o -print)
TEMPLATES := template.yaml $(wildcard infra/*.yaml statemachines/*.json)
SCAN := .venv-scan/bin/checkov
ARGS ?=
ENGINE ?= $(shell command -v docker || command -v podman)
IMAGE ?= rapido-worker:$(shell git rev-parse --short=12 HEAD)
# Chalice's command needs these and no function does; botocore is in Lambda's image.
NOT_SHIPPED := blessed botocore click editor inquirer jinxed packaging pip \
  python-dateutil pyyaml readchar runs setuptools six urllib3 wcwidth wheel xmod
# numpy's newest wheel for that image is older than the one that everybody else has.
FOR_LAMBDA := --python-platform x86_64-manylinux2014 --only-binary :all:
LIVEKIT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rapido/bin/livekit-server-v1.13.5/server

.PHONY: help demo up test check package bench image lock clean
.DEFAULT_GOAL := help

help: ## Lists the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

demo: $(DEMO) ## The main job, with its proof in out/demo
	@$(BIN)/rapido demo $(ARGS)

up: $(DEMO) ## The local cell in the foreground, until Ctrl-C
	@$(BIN)/rapido up $(ARGS)

test: $(DEV) $(PACKAGE) $(SCAN) ## Every test, servers included; ARGS="-k name" narrows it
	@$(BIN)/python -m ops.cell.livekit_binary # minutes, once: more than a test has
ifneq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest $(ARGS)
else
	@failed=; \
	echo 'All that may share the machine, in two processes'; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p tests.sharing -n 2 -m 'not alone' || failed=1; \
	echo 'What real time is looked at in, alone'; \
	$(BIN)/python -m pytest -m alone || failed=1; \
	test -z "$$failed"
endif

check: $(DEV) $(SAM) ## Lint, format, types, import arrows, templates, the image's recipe
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(NO_ACCOUNT) $(SAM) validate --lint --template-file template.yaml
	$(BIN)/cfn-lint infra/*.yaml
	$(BIN)/hadolint gpu_node/Dockerfile

package: $(PACKAGE) ## What Lambda gets, build/control.zip and planner.zip, and SAM's template around them

bench: $(DEV) $(PACKAGE) ## Every bench, results under out/bench
	$(BIN)/rapido bench all $(ARGS)

image: ## The worker's image, rapido-worker:COMMIT; IMAGE=name:tag names it, ARGS go to the build
	@test -n "$(ENGINE)" || { echo "No container engine: install Docker or Podman, or name one: make image ENGINE=path"; exit 1; }
	@$(ENGINE) info >/dev/null 2>&1 || { echo "$(ENGINE) reaches no engine: start it (systemctl start docker), or name another: make image ENGINE=podman"; exit 1; }
	$(ENGINE) build --platform linux/amd64 --file gpu_node/Dockerfile --tag $(IMAGE) $(ARGS) .

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

build/control.zip build/planner.zip &: $(SHIPPED) ops/package.py $(LAMBDA)
	@$(BIN)/python -m ops.package

$(PACKAGE): build/control.zip build/planner.zip $(TEMPLATES) $(SAM)
	@$(NO_ACCOUNT) $(SAM) build --template-file template.yaml
	@ln -s ../../build .aws-sam/build/build # SAM moves the paths of resources, not those in Globals
	@touch $@

$(SAM): requirements-sam.txt | $(UV)
	@echo "[setup] AWS SAM's command, in an environment of its own"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-sam
	@$(UV) pip install --quiet --python .venv-sam/bin/python --compile-bytecode -r $<
	@touch $@

$(LAMBDA): requirements-lambda.txt | $(UV)
	@echo "[setup] what AWS's image of Python holds, for functions under its emulator"
	@$(UV) venv --quiet --allow-existing --python 3.11 .venv-lambda
	@$(UV) pip install --quiet --python .venv-lambda/bin/python --compile-bytecode -r $<
	@touch $@

$(SCAN): requirements-scan.txt | $(UV)
	@echo "[setup] the security scanner, in an environment of its own"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-scan
	@$(UV) pip install --quiet --python .venv-scan/bin/python --compile-bytecode -r $<
	@touch $@

lock: $(DEV) ## Compiles pyproject.toml's pins into the requirements files
	$(LOCK) --extra dev -o requirements-dev.txt
	$(LOCK) --extra control -c requirements-dev.txt $(NOT_SHIPPED:%=--no-emit-package %) -o requirements.txt
	$(LOCK) --extra planner -c requirements.txt $(FOR_LAMBDA) $(NOT_SHIPPED:%=--no-emit-package %) -o requirements-planner.txt
	$(LOCK) --extra sam -o requirements-sam.txt
	$(LOCK) --extra lambda -c requirements-dev.txt -o requirements-lambda.txt
	$(LOCK) --extra scan -o requirements-scan.txt
	$(LOCK) --extra worker-cpu -c requirements-dev.txt -o gpu_node/requirements-cpu.txt
	$(LOCK) --extra worker-gpu -c requirements-dev.txt -o gpu_node/requirements-gpu.txt
	$(LOCK) --extra demo -c requirements-dev.txt -o requirements-demo.txt
	$(subst pyproject.toml,$(PLUGIN)/pyproject.toml,$(LOCK)) --extra test -o $(PLUGIN)/requirements-test.txt

clean: ## Removes what was made
	rm -rf $(VENV) .venv-sam .venv-lambda .venv-scan .aws-sam out .rapido build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
