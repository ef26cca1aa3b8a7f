# Everything a person or a machine runs here. `make` alone lists the targets.
#   make setup PYTHON=python3.12      choose the interpreter of .venv (3.10 to 3.13)
#   make test ARGS="-k tokenizer"     pass arguments to pytest
#   make gpu BIN=/usr/bin BUDGET=300  by another Python as it is, without a network, in 300 seconds
#   make oldest INSTEAD=torch=2.13.0  another version of a dependency, where its oldest cannot be installed

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUDGET ?= 480
BENCHMARKS := $(sort $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test browser lint format types map oldest bench gpu clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP)  ## make .venv with the pinned versions (again only when they change)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) (minutes, the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## sample videos from three prompts with the shipped model, into samples/
	@$(BIN)/videogpt sample --output samples \
		"a red circle moves left" \
		"a large blue star spins on a grey background" \
		"a small green square grows and a yellow triangle moves up"
	@echo "The videos, their settings (.json) and contact sheets (.png) are in $(CURDIR)/samples"

# In the order of the files: the one that compiles all kernels, the longest of all, comes first.
# A browser beside other tests is too slow for its own: `make browser` runs those.
test: setup  ## run the tests, on up to four cores
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not browser" $(ARGS)

browser: setup  ## the tokenizer's page in headless Chromium; needs npm, chromium and chromium-driver
	@npm ci --ignore-scripts --no-audit --no-fund --silent --prefix tokenizer/web
	@$(BIN)/python -m pytest -m browser $(ARGS)

lint: setup  ## check style, formatting and the arrows between the packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: setup  ## mend style and formatting where that is mechanical
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup  ## check the type annotations
	@$(BIN)/pyright

map: setup  ## write the maps of all files into the packages' READMEs
	@$(BIN)/python tests/house_map.py

oldest: setup  ## a fast part of the tests on the oldest versions that pyproject.toml allows, in .venv-oldest
	@$(PYTHON) -m venv $(VENV)-oldest
	@$(BIN)/python tests/lower_bounds.py $(INSTEAD) > $(VENV)-oldest/pins.txt
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check -r $(VENV)-oldest/pins.txt
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@$(VENV)-oldest/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow" tests/tokenizer tests/videogpt $(ARGS)

bench: setup  ## run every benchmark in its quick form
	@set -e; for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python $$file --quick; done

# Another Python (BIN=/usr/bin) is taken as it is: nothing is set up, nothing is downloaded.
gpu: $(if $(filter $(VENV)/bin,$(BIN)),setup)  ## on a machine with CUDA: its tests and benchmarks within BUDGET seconds, into OUT
	@$(BIN)/python3 benchmarks/_on_gpu.py --budget $(BUDGET) $(if $(OUT),--output $(OUT)) $(ARGS)

clean:  ## remove caches, build output, .venv and what npm installed; runs/, data/ and samples/ are yours and stay
	@rm -rf $(VENV) $(VENV)-oldest tokenizer/web/node_modules build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
