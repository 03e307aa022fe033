# Two commands matter: `make demo` and `make test`. Each sets up what it needs in .venv and is quick the next time.
# ARGS passes through: make test ARGS="-k ties -x", make demo ARGS="--out /tmp/demo".

# Any of these that is Python 3.11 or later; override with PYTHON=...
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done || echo python3)
# auto: the CPU build of torch on Linux without an NVIDIA GPU; cpu or default forces one.
TORCH ?= auto
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
ARGS ?=

export TORCH TORCH_CPU_INDEX
BIN := .venv/bin
INSTALL := $(PYTHON) scripts/install.py
INPUTS := pyproject.toml constraints.txt scripts/install.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow fuzz lint format types imports check docs parity clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

# One environment, one stamp per extra. `dev` contains all that is needed without one, so it stamps both.
.venv/.plain: $(INPUTS)
	@$(INSTALL)
	@touch $@

.venv/.dev: $(INPUTS)
	@$(INSTALL) --extra dev
	@touch $@ .venv/.plain

.venv/.fuzz: $(INPUTS)
	@$(INSTALL) --extra fuzz
	@touch $@

setup: .venv/.dev ## make .venv with everything a developer needs

demo: .venv/.plain ## train, merge and score small image models (about a minute)
	@$(BIN)/cuvee demo $(if $(ARGS),$(ARGS),--out demo-output)

test: .venv/.dev ## run the test suite
	@$(BIN)/python -m pytest -m "not slow and not gpu" $(ARGS)

test-slow: .venv/.dev ## run the rest: slow tests, and GPU tests where there is one
	@$(BIN)/python -m pytest -m "slow or gpu" $(ARGS)

fuzz: .venv/.fuzz ## feed made-up files to all readers for a minute; ARGS="--seconds 600 --target header"
	@$(BIN)/python fuzz/run.py $(ARGS)

# SEED, COUNT, ONLY and FAMILIES choose: make parity SEED=3 ONLY=17, make parity FAMILIES=llama,t5
parity: .venv/.dev ## compare with mergekit on random configurations; SEED=1 COUNT=300 ONLY=17 FAMILIES=llama,t5
	@$(BIN)/python parity/run.py $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(FAMILIES),--families $(FAMILIES)) $(ARGS)

lint: .venv/.dev ## look for mistakes and unformatted code
	@$(BIN)/ruff check $(ARGS)
	@$(BIN)/ruff format --check

format: .venv/.dev ## format the code and fix what can be fixed
	@$(BIN)/ruff check --fix $(ARGS)
	@$(BIN)/ruff format

types: .venv/.dev ## check the types
	@$(BIN)/mypy --strict src/cuvee $(ARGS)

imports: .venv/.dev ## check that modules import from lower floors only
	@$(BIN)/lint-imports

check: lint types imports ## lint, types and imports

docs: .venv/.dev ## write what the documentation takes from the code
	@$(BIN)/python scripts/docs.py $(ARGS)

clean: ## remove caches and what builds, tests and the demo left
	rm -rf build dist .coverage .coverage.* htmlcov demo-output
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache fuzz-findings
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv
	rm -rf .venv .install.lock
