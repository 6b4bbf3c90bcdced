# Everything runs in the project's own virtual environment; nothing else is changed.
PYTHON ?= python3
VENV ?= .venv
SUITE ?= digits
OUTPUT_DIR ?= results/$(notdir $(basename $(SUITE)))
DEVICE ?=
DATA_DIR ?=
JOBS ?= 2
COVERAGE ?=
OPTIONS ?=
PINS ?=
CONSTRAINTS ?=
TORCH_INDEX ?=

OLDEST := torch==2.6.* torchvision==0.21.*
FEATURES := -d digits $(foreach weights,baseline lpf3 lpf5,-m digits:vgg@$(weights))
MEASURED := $(foreach name,robustbench_aa data_prep,--cov=$(name)) --cov-report=term:skip-covered
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
# modules are compiled when they are first imported, and most never are
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	$(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.DEFAULT_GOAL := help
.PHONY: help install setup benchmark test test-matrix wheel constraints lint plot-library docs bench gpu train-cifar10 train-digits clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: SUITE=$(SUITE) OUTPUT_DIR=$(OUTPUT_DIR) DEVICE=$(DEVICE) JOBS=$(JOBS) VENV=$(VENV) PYTHON=$(PYTHON)"

install: $(INSTALLED) ## create a virtual environment with the package

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11; name another: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch torchvision)
	$(PIP) --editable . $(foreach pin,$(PINS),'$(pin)')
	@touch $@

setup: $(READY) ## add the tools for tests, lint and documents

$(READY): $(INSTALLED)
	$(PIP) --editable '.[dev]' $(foreach pin,$(PINS),'$(pin)')
	@touch $@

benchmark: $(INSTALLED) ## evaluate SUITE on DEVICE and write the report to OUTPUT_DIR; resumes
	$(if $(filter digits,$(SUITE)),$(BIN)/robustbench-aa features $(FEATURES) -o $(OUTPUT_DIR)/features)
	$(BIN)/robustbench-aa benchmark $(SUITE) --output-dir $(OUTPUT_DIR) $(if $(DEVICE),--device $(DEVICE))

test: $(READY) ## run all tests in JOBS processes; COVERAGE=1 measures the coverage
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(OPTIONS) $(if $(COVERAGE),$(MEASURED))

test-matrix: ## run all tests with the oldest torch and with the newest packages, in temporary environments
	@set -e; for pins in '$(OLDEST)' ''; do \
		environment=$$(mktemp -d); trap 'rm -rf "$$environment"' EXIT; trap 'exit 130' INT TERM; \
		: 'packages that are years old call what newer ones have deprecated'; \
		options=$${pins:+-W default::DeprecationWarning}; \
		$(MAKE) test VENV="$$environment/venv" PINS="$$pins" OPTIONS="$$options"; \
		rm -rf "$$environment"; \
	done

wheel: ## build the wheel in dist/, install it in VENV without tools, and follow the README with it
	$(PYTHON) -m venv $(VENV)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PIP) dist/*.whl
	$(BIN)/python -I .ci/follow_readme.py

constraints: ## write the newest packages to constraints.txt
	@set -e; environment=$$(mktemp -d); trap 'rm -rf "$$environment"' EXIT; trap 'exit 130' INT TERM; \
		$(MAKE) setup VENV="$$environment/venv" CONSTRAINTS=; \
		"$$environment/venv/bin/python" -m pip freeze --exclude-editable > constraints.txt

lint: $(READY) ## run ruff (lint and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

plot-library: ## build the plotting library of the page with npm
	cd data_prep/plot_library && npm ci --ignore-scripts --no-audit --no-fund && npm run build

docs: $(READY) ## build the documentation in docs/_build/
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build

bench: $(READY) ## measure speed and write results/performance/
	$(BIN)/python -m benchmarks.speed.evaluation_speed
	$(BIN)/python -m benchmarks.speed.corruption_speed
	$(BIN)/python -m benchmarks.speed.antialias_cost
	$(BIN)/python -m benchmarks.speed.training_cost
	$(BIN)/python -m benchmarks.speed.scaling
	$(BIN)/python -m benchmarks.speed.engines
	$(BIN)/python -m benchmarks.speed.side_by_side
	$(BIN)/python -m benchmarks.speed.synthetic_run
	$(BIN)/python -m benchmarks.speed.cluster_simulation

gpu: $(READY) ## test and measure on a GPU for at most 15 minutes and write results/gpu/
	$(BIN)/python -m benchmarks.gpu

train-cifar10: $(READY) ## train ResNet-20 with each downsampling on the CIFAR-10 of DATA_DIR; resumes
	$(BIN)/python -m data_prep.train_cifar10 --data-dir '$(DATA_DIR)'

train-digits: $(READY) ## train the embedded models again
	$(BIN)/python -m data_prep.train_digits

clean: ## remove the environment, caches and predictions; keep reports and feature maps
	rm -rf $(VENV) build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	rm -rf results/*/predictions results/*/samples results/*/run.json results/*/.lock
	find . -name __pycache__ -prune -exec rm -rf {} +
