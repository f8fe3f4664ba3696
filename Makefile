# `make help` lists what there is. Everything runs from .venv, which `make venv` makes.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# EXPORT=1 adds PyTorch, for the exporter and its tests, and TensorRT for RTX, for the tests of the
# engine builder.
EXPORT ?= $(if $(filter true,$(CI)),1)
DEMO_ARGS ?=
PYTEST_ARGS ?=
TEST_TIMEOUT := 300

LARGE := requirements/export.txt requirements/tensorrt-test.txt
BASE := $(VENV)/.made-base
EXPORTER := $(VENV)/.made-export
READY := $(if $(filter-out 0,$(EXPORT)),$(EXPORTER),$(BASE))

PYTEST_XML := build/pytest.xml
WORKSPACE := build/colcon_ws
COLCON := $(RUN) -m colcon --log-base $(WORKSPACE)/log
COLCON_BASES := --base-paths . --build-base $(WORKSPACE)/build --install-base $(WORKSPACE)/install
COLCON_XML := $(WORKSPACE)/build/sim2real_policy/pytest.xml

.DEFAULT_GOAL := help
# The ROS tests of two runs at once would hear each other.
.NOTPARALLEL:
.PHONY: help venv demo test lint types format pytest colcon clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## Make .venv with all that is needed (PYTHON=python3.12, EXPORT=1 adds PyTorch)

$(BASE): $(filter-out $(LARGE),$(wildcard requirements/*.txt)) setup.py \
		tools/make_venv.sh
	@PYTHON='$(PYTHON)' tools/make_venv.sh $(VENV)
	@touch $@

$(EXPORTER): $(LARGE) $(BASE)
	@echo 'venv: installing PyTorch for the exporter, TensorRT for RTX for tests'
	@$(RUN) -m pip install -qq --disable-pip-version-check $(LARGE:%=-r %)
	@touch $@

demo: $(READY) ## Walk the simulated robot through the real node (DEMO_ARGS='--help')
	@$(RUN) -m sim2real_policy.simulation.demo $(DEMO_ARGS)

test: lint types colcon pytest ## All that must pass before a change lands; what CI runs
	@$(COLCON) test-result --test-result-base $(WORKSPACE)/build --verbose
	@$(RUN) tools/compare_test_counts.py $(PYTEST_XML) $(COLCON_XML)

lint: $(READY) ## Check the form of the code
	@$(RUN) -m ruff check .

types: $(READY) ## Check the types
	@$(RUN) -m mypy

format: $(READY) ## Mend what ruff can mend by itself
	@$(RUN) -m ruff check --fix .

pytest: $(READY) ## Run the tests alone, with coverage (PYTEST_ARGS='-k joints')
	@mkdir -p build
	@COVERAGE_FILE=build/.coverage $(RUN) -m pytest --timeout $(TEST_TIMEOUT) --junit-xml $(PYTEST_XML) \
		--cov=sim2real_policy --cov-report=term $(PYTEST_ARGS)

colcon: $(READY) ## Build and test as a ROS 2 package, in build/colcon_ws
	@mkdir -p build
	@$(COLCON) build $(COLCON_BASES)
	@$(COLCON) test $(COLCON_BASES) --pytest-args --timeout $(TEST_TIMEOUT)

clean: ## Remove .venv and all that was built
	rm -rf $(VENV) build *.egg-info
