.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop
BENCH := $(VENV)/.bench
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000
ARGS ?=

export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help setup run test chaos bench format ui chat clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## Make .venv with the pinned dependencies

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 run")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt .
	@touch $@

# Apart from what `make run` needs: torchmetrics imports transformers where it finds it, a second and a half a stage.
$(DEVELOP): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt ".[dev]"
	@touch $@

$(BENCH): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt ".[bench]"
	@touch $@

run: $(READY) ## The whole road, from raw text to an aligned chat model (ARGS='--preset smoke', PIPELINE=name)
	$(BIN)/python -m flows.lineage $(if $(PIPELINE),--pipeline $(PIPELINE)) $(ARGS)

test: $(DEVELOP) ## Lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(ARGS)

bench: $(BENCH) ## Our road beside its peers on this machine (NANOGPT=checkout SHAKESPEARE=input.txt ARGS='--only ppo')
	$(BIN)/python -m benchmarks $(if $(NANOGPT),--nanogpt $(NANOGPT)) $(if $(SHAKESPEARE),--shakespeare $(SHAKESPEARE)) $(ARGS)

chaos: $(DEVELOP) ## Kill every training stage at random moments; what it makes must stay the same (ARGS='--kills 40')
	$(BIN)/python -m tests.chaos $(ARGS)

format: $(DEVELOP) ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: $(READY) ## Prefect and MLflow in the browser, on loopback
	@$(BIN)/python -m flows.ui --prefect-port $(PREFECT_PORT) --mlflow-port $(MLFLOW_PORT)

chat: $(READY) ## Talk to a registered model (ARGS='--model models:/gpt-sft@candidate')
	@$(BIN)/python -m components.chat $(ARGS)

clean: ## Remove variants, checkpoints of unfinished stages and tool caches; results stay
	rm -rf .lineage .mypy_cache .pytest_cache .ruff_cache
