# Everything a developer runs, with make, Python and pip alone. Say PYTHON=... to choose the interpreter, VENV=... the environment.

VENV ?= .venv
PYTHON ?=
ARGS ?=

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
PROJECTS := pyproject.toml $(sort $(wildcard plugins/*/pyproject.toml))
PLUGINS := $(patsubst %/pyproject.toml,%,$(filter plugins/%,$(PROJECTS)))
SOURCES := $(shell find crm_core plugins -type f -not -path '*/__pycache__/*' -not -path '*/tests/*')

.PHONY: help venv demo test bench torture torture-long lint wheels docs clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

venv: $(VENV)/.dev ## make the virtual environment with the kernel, every plugin and the tools

demo: $(VENV)/.runtime ## a generated company in ./crm-demo: import it, print its report, write report.html
	@$(RUN) -m crm_core demo crm-demo

test: $(VENV)/.dev ## every test and doctest, on up to four cores (ARGS="-k name" narrows, "-n 0" takes one)
	@$(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

bench: $(VENV)/.bench ## measurements beside their limits (ARGS="--full" for the long forms, or bench names)
	@$(RUN) -m tests.benchmarks $(ARGS)

torture: $(VENV)/.dev ## fail statements, kill processes, cut the power: the promises of data safety, in a minute
	@$(RUN) -m tests.torture $(ARGS)

torture-long: $(VENV)/.dev ## the same in full, whose figures are claimed (ARGS="kills power" narrows, "--json" for programs)
	@$(RUN) -m tests.torture --long $(ARGS)

lint: $(VENV)/.dev ## style, formatting, types and the floors of the house
	@$(RUN) -m ruff check --quiet
	@$(RUN) -m ruff format --check --quiet || { echo "Run: $(RUN) -m ruff format"; exit 1; }
	@$(RUN) -m mypy
	@PYTHONPATH=$$(echo examples/crm-* | tr ' ' ':') $(VENV)/bin/lint-imports --no-logo

wheels: dist/wheels/.built ## build every distribution into dist/wheels

docs: $(VENV)/.dev ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "The documentation is at site/index.html"

clean: ## remove everything that make wrote here, ./crm-demo and the environments too
	@rm -rf .venv .venv-* dist site crm-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps, because the demo needs none of the tools. Builds use the backend installed here: seven isolated
# environments would take longer than the rest of the installation.
$(VENV)/.runtime: $(PROJECTS) constraints.txt
	@python=$$(.ci/find-python $(PYTHON)) || exit 1; \
	if ! $(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		"$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing the kernel and its plugins into $(VENV) ($$($(RUN) --version))"
	@$(PIP) install -qq -c constraints.txt hatchling editables
	@$(PIP) install -qq -c constraints.txt --no-build-isolation -e '.[standard]' $(patsubst %,-e %,$(PLUGINS))
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV)"
	@$(PIP) install -qq -c constraints.txt --no-build-isolation -e '.[dev,standard]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing what the benchmarks compare with"
	@$(PIP) install -qq -c constraints.txt --no-build-isolation -e '.[bench]'
	@touch $@

dist/wheels/.built: $(VENV)/.runtime $(SOURCES)
	@rm -rf dist/wheels
	@$(PIP) wheel -qq --no-deps --no-build-isolation -w dist/wheels . $(patsubst %,./%,$(PLUGINS))
	@touch $@
	@echo "Built into dist/wheels:" && ls dist/wheels
