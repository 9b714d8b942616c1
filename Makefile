# Every target works as the first command on a fresh Debian 12 or 13, as root.
# Elsewhere `setup` names what is missing and stops.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
SCRIPTS := tests/lab/setup.sh .ci/run

.PHONY: help setup demo demo-down test lint clean

help:
	@echo 'make setup      install what is needed: Debian packages and $(VENV) with $(BIN)/ramnet'
	@echo 'make demo       the whole way once, with a real dockerd; KEEP=1 leaves the hosts up'
	@echo 'make demo-down  take a kept demo down'
	@echo 'make test       all tests (PYTEST="-k name" for some)'
	@echo 'make lint       ruff, mypy, import-linter, shellcheck'
	@echo 'make clean      remove what was built'

setup:
	@tests/lab/setup.sh
	@$(MAKE) --no-print-directory $(INSTALLED)

$(INSTALLED): pyproject.toml
	@echo 'setup: $(VENV)'
	@test -x $(BIN)/python || /usr/bin/python3 -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: setup
	@$(BIN)/python -m tests.lab.demo $(if $(KEEP),--keep)

demo-down:
	@$(BIN)/python -m tests.lab.demo --down

test: setup
	$(BIN)/pytest $(PYTEST)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	shellcheck $(SCRIPTS)

clean:
	rm -rf build $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find ramnet tests -name __pycache__ -type d -prune -exec rm -rf {} +
