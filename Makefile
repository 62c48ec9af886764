# Every target sets up what it needs in its own virtual environment. ARGS="..." passes overrides through.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help train eval predict sweep table1 table2 results bench docs test test-slow test-lower test-extras mutants lint format clean

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

train: $(VENV)/run  ## Train the quickstart (or ARGS="experiment=arcsr_gopro data.root=...") and score it
	$(BIN)/arcsr-train $(if $(findstring experiment=,$(ARGS)),,experiment=quickstart) $(ARGS)

eval: $(VENV)/run  ## Score weights: ARGS="weights=PATH data=..."; without, the newest run
	$(BIN)/arcsr-eval $(ARGS)

predict: $(VENV)/run  ## Restore pictures: ARGS="input=PATH output=PATH weights=PATH"
	$(BIN)/arcsr-predict $(ARGS)

sweep: $(VENV)/run  ## Train every combination: ARGS="ablation=full,no_kernel seed=0,1"
	$(BIN)/arcsr-train --multirun $(if $(findstring experiment=,$(ARGS)),,experiment=quickstart) $(ARGS)

table1: $(VENV)/run  ## The paper's ablations, or what is missing of them; ARGS="experiment=table1_small data.root=...": small
	$(BIN)/arcsr-train $(if $(findstring experiment=,$(ARGS)),,experiment=table1) $(ARGS)

table2: $(VENV)/run  ## The paper's comparison of methods; ARGS="experiment=table2_small data.root=...": small
	$(BIN)/arcsr-train $(if $(findstring experiment=,$(ARGS)),,experiment=table2) $(ARGS)

results: $(VENV)/run  ## Tables and plot of a study: ARGS="table1"
	$(BIN)/arcsr-results $(ARGS)

bench: $(VENV)/run  ## Measure speed and memory against counterparts, in minutes: ARGS="--quick", "--full", "--only PATTERN", "--device cuda"
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/dev  ## Build the documentation as a site, build/site/index.html; a dead link is an error
	rm -rf build/docs && mkdir -p build/docs
	cp -r README.md CONTRIBUTING.md CHANGELOG.md CITATION.cff docs experiments notebooks conf src tests build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build  # --quiet would hush what strict counts

test: $(VENV)/dev  ## Run the test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

test-slow: $(VENV)/dev  ## Run the slow tests only
	$(BIN)/python -m pytest -m slow $(ARGS)

test-lower: $(VENV)-lower/dev  ## Run the tests with the oldest versions that pyproject.toml allows
	$(VENV)-lower/bin/python -m pytest $(ARGS)

test-extras:  ## Install every extra alone, and run its tests there; ARGS="demo video"
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; say which with make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) tests/extras.py $(ARGS)

mutants: $(VENV)/dev  ## Plant small bugs, and list those that no test notices; ARGS="--count 300 --seed 1"
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py $(ARGS)

lint: $(VENV)/dev  ## Check style, formatting and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/dev  ## Fix style and formatting
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## Remove caches and build results; logs/ and the environment stay
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)*/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; say which with make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)-lower/dev: pyproject.toml constraints-lower.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; say which with make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)-lower
	$(VENV)-lower/bin/python -m pip install --quiet --constraint constraints-lower.txt --editable ".[dev]"
	@touch $@

$(VENV)/run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@
