# Needs Python 3.11, 3.12 or 3.13, make and git; everything else goes into .venv on the first run.
# A second run starts at once: nothing is installed again until pyproject.toml or constraints.txt changes.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
SEED := 0
OUT := out/demo$(if $(filter-out 0,$(SEED)),-$(SEED))

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.sweeps  ## train a small sweep and forecast its largest runs, into out/demo (SEED=1: another one)
	$(BIN)/sweeps run demo --out $(OUT) --seed-offset $(SEED)
	$(BIN)/sweeps collect $(OUT) -o $(OUT)
	$(BIN)/scaling holdout chinchilla $(OUT)/runs.csv --hold 'group == "held_out"' \
		--curves $(OUT)/curves.csv --curve-where 'step >= 100' --curve-law tissue -o $(OUT)

test: $(VENV)/.dev  ## all tests, in a process a core
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --durations 15

lint: $(VENV)/.dev  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## rewrite the files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## the documentation, into site/; any broken link fails
	$(BIN)/python -m scaling.lawpages docs
	$(BIN)/python -m tests.cli_pages docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev  ## every script in benchmarks/, one after another
	@set -e; for script in benchmarks/*.py; do echo "# $$script"; $(BIN)/python $$script; done

clean:  ## remove the environment, caches and the built site; out/ is yours and stays
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find scaling sweeps tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "make: $(PYTHON) is not Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# The stamps are touched last, so an installation that was broken off is begun again.
$(VENV)/.sweeps: pyproject.toml constraints.txt | $(BIN)/python
	@echo "make: installing into $(VENV), once (about a minute; longer where torch comes with CUDA)"
	@$(PIP) install -c constraints.txt hatchling editables
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[sweeps]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "make: installing into $(VENV), once (about a minute; longer where torch comes with CUDA)"
	@$(PIP) install -c constraints.txt hatchling editables
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[sweeps,dev]'
	@touch $(VENV)/.sweeps $@
