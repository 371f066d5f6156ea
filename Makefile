.DEFAULT_GOAL := help
SHELL := /bin/bash
# Tests start hundreds of processes; with this set, each would compile the whole package anew.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH := .venv-bench
PEERS := vectorbt backtesting backtrader nautilus numba
CODE := engine containers sequences workflows src tests examples benchmarks tools
# Tests make and remove thousands of small files: where memory has room for them, none waits for a disk.
SCRATCH := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1000000 { print "/dev/shm" }')
PYTEST := $(if $(SCRATCH),TMPDIR=$(SCRATCH) )$(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: help demo test check format format-check lint types layers cov bench soak docs build-check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[search,websocket,redis,server,otel,prometheus]' \
		--group dev --group oracles --group embedding
	@touch $@

demo: $(STAMP) ## Run a study on the bundled sample data and print its summary
	$(BIN)/admf run examples/goog.yaml --results-root results --overwrite

test: $(STAMP) ## Run the tests
	$(PYTEST)

check: format-check lint types layers cov build-check ## All that continuous integration runs

format: $(STAMP) ## Format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix-only --quiet $(CODE)

format-check: $(STAMP)
	$(BIN)/ruff format --check $(CODE)

lint: $(STAMP) ## Look for mistakes with ruff
	$(BIN)/ruff check $(CODE)

types: $(STAMP) ## Check the types with mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/basedpyright

layers: $(STAMP) ## Check that no layer imports one above it
	$(BIN)/lint-imports

cov: $(STAMP) ## Run the tests and hold the coverage: all of engine/, 95 % overall
	$(BIN)/coverage erase
	$(PYTEST) --cov --cov-report=
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --include='*/engine/*' --fail-under=100

$(BENCH)-%/.installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	@touch $@

bench: $(PEERS:%=$(BENCH)-%/.installed) ## Run the benchmarks in environments of their own
	test -d $(BENCH) || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH)/bin/python -m pip install --quiet --editable . --group bench
	$(BENCH)/bin/python benchmarks/bench_speed.py
	$(BENCH)/bin/python benchmarks/bench_bus.py
	$(BENCH)/bin/python benchmarks/bench_latency.py
	$(BENCH)/bin/python benchmarks/bench_memory.py
	$(BENCH)/bin/python benchmarks/bench_storage.py
	$(BENCH)/bin/python benchmarks/bench_auto.py
	$(BENCH)/bin/python benchmarks/bench_host.py

soak: $(STAMP) ## Put a live session under load for a minute
	$(BIN)/python benchmarks/soak.py --seconds 60

docs: $(STAMP) ## Check that what the documents show runs as it stands
	$(BIN)/python -m pytest tests/test_documents.py

build-check: $(STAMP) ## Build sdist and wheel, and compare what is in them with git
	$(BIN)/python -m pytest -m build tests/test_distribution.py

clean: ## Remove what can be made again
	rm -rf $(VENV) $(BENCH) $(BENCH)-* build dist results .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
