# Everything a newcomer runs. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# pip's many lines as one that moves.
PROGRESS := awk '/^Collecting/ {printf "\r  %3d packages  %-50.50s", ++n, $$2} \
  /^Installing collected/ {printf "\r  %3d packages, unpacking ...%-40s", n, ""} \
  /^ *(Successfully installed|ERROR)/ {printf "\r%-70s\r", ""} {fflush()}'
WORK ?= bench-output/tiny
RUNTIME ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: help setup setup-dev demo run test chaos bench bench-auto bench-encoder bench-memory bench-cutouts bench-clicks \
  bench-jobs tiny lint format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	  || { echo "Python 3.11 or 3.12 is needed, and $(PYTHON) is neither: name one with PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "A virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.service: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the service and the local stack into $(VENV) (a minute or two) ..."
	@$(PIP) install --no-color -c constraints.txt -e '.[$(RUNTIME),openvino,local]' | $(PROGRESS) \
	  || { echo "The installation failed: the lines above say why. Is a package index reachable?"; exit 1; }
	@touch $@

$(VENV)/.dev: $(VENV)/.service
	@echo "Installing PyTorch and the tools for tests into $(VENV) (a few minutes, 5 GB) ..."
	@$(PIP) install --no-color -c constraints.txt -e '.[$(RUNTIME),openvino,local,export,dev]' | $(PROGRESS) \
	  || { echo "The installation failed: the lines above say why. Is a package index reachable?"; exit 1; }
	@touch $@

setup: $(VENV)/.service ## Make .venv with the service and the local stack
setup-dev: $(VENV)/.dev ## The same, with PyTorch and the tools for tests

demo: setup ## Start the whole stack, segment the bundled sample, stop
	@$(BIN)/python -m orchestrator.local.demo

run: setup ## Start the whole stack and keep it up until Ctrl-C
	@$(BIN)/quarry up

test: setup-dev ## All tests, against real parts, with coverage
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest $(ARGS)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report

chaos: setup-dev ## 200 jobs while everything below them is killed, on both databases (10 minutes)
	@$(BIN)/python -m tests.worker.chaos --database postgres $(ARGS)
	@$(BIN)/python -m tests.worker.chaos --database sqlite $(ARGS)

bench: bench-auto bench-encoder bench-memory bench-cutouts bench-clicks bench-jobs ## All benchmarks

bench-auto: setup-dev ## Automatic masks side by side with the official generator (ARGS="--photos DIR --long")
	@$(BIN)/python -m tests.bench.auto $(ARGS)

bench-encoder: setup-dev ## One picture through the encoder, the official code's and the exported graph's
	@$(BIN)/python -m tests.bench.encoder $(ARGS)

bench-memory: setup-dev ## What automatic masks take of memory
	@$(BIN)/python -m tests.bench.memory $(ARGS)

bench-cutouts: setup-dev ## Edges and colours of cut-outs beside known ones (ARGS="--photos DIR")
	@$(BIN)/python -m tests.bench.cutouts $(ARGS)

bench-clicks: setup-dev ## What a new picture takes, and a further click on it, on each engine
	@$(BIN)/python -m tests.bench.clicks $(ARGS)

bench-jobs: setup-dev ## Two workers against one, and how soon a submission is answered (ARGS="--database postgres")
	@$(BIN)/python -m tests.bench.jobs $(ARGS)

tiny: setup-dev ## Train the bundled model anew (WORK=folder ARGS="--seconds 10800"; docs/tiny.md says what it costs)
	@$(BIN)/python -m export.tiny.pool $(WORK)/pool
	@$(BIN)/python -m export.tiny.train $(WORK) --pool $(WORK)/pool $(ARGS)
	@$(BIN)/python -m export.tiny.train $(WORK) --pool $(WORK)/pool --export
	@$(BIN)/python -m export.tiny.pool $(WORK)/unseen --count 3000 --from-seed 30000000
	@$(BIN)/python -m export.tiny.scores --pool $(WORK)/unseen
	@$(BIN)/python -m export tiny --repository model_repository
	@$(BIN)/python -m export.tiny.evaluate

lint: setup-dev ## Format, style, security, types, floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-dev ## Put the code into its form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove what was made here, but for .venv
	@rm -rf demo-output bench-output .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
