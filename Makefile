# Every target works as the first command on a fresh Debian 12 or 13, as root.
# Elsewhere `setup` names what is missing and stops.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
SCRIPTS := $(wildcard tests/lab/*.sh) .ci/run
VM := vm-image
VM_SCRIPTS := $(wildcard $(VM)/*/*.sh $(VM)/wsl/boot $(VM)/lib/* $(VM)/package/debian/p* $(VM)/*/init)

.PHONY: help setup demo demo-down test bench setup-bench lint clean deb install image setup-vm image-twice test-vm test-matrix wsl-image wsl-kernel

help:
	@echo 'make setup      install what is needed: Debian packages and $(VENV) with $(BIN)/ramnet'
	@echo 'make demo       the whole way once, with a real dockerd; KEEP=1 leaves the hosts up'
	@echo 'make demo-down  take a kept demo down'
	@echo 'make test       all tests (PYTEST="-k name" for some)'
	@echo 'make bench      ramnet beside HAProxy, squid, dnsmasq, unbound, no gate; 12 minutes (QUICK=1: 1)'
	@echo 'make lint       ruff, mypy, import-linter, shellcheck'
	@echo 'make deb        the Debian package; make install DESTDIR=... lays the same files down'
	@echo 'make image      a bootable image (SUITE=bookworm|trixie|sid, KERNEL=a suite or a bzImage)'
	@echo 'make image-twice  its root built twice, compared byte by byte'
	@echo 'make test-vm    boot it in QEMU and check it in there (SCENARIO="boot" for a part)'
	@echo 'make test-matrix  kernels 5.10 to the newest, Docker 20.10 to 28.5; takes half an hour'
	@echo 'make wsl-image  a distribution for wsl --import (SUITE=...)'
	@echo 'make wsl-kernel a kernel with the options of WSL 5.10 (WSL_KERNEL=5.10|6.1); 10 minutes'
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
	@$(BIN)/python -m tests.lab.foreign
	$(BIN)/pytest $(PYTEST)

setup-bench: setup
	@tests/lab/setup.sh tests/bench/packages.txt

bench: setup-bench
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(BENCH)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	MYPYPATH=$(VM):. $(BIN)/mypy -p package -p runner
	MYPYPATH=$(VM)/guest $(BIN)/mypy $(VM)/guest/*.py
	$(BIN)/lint-imports
	shellcheck $(SCRIPTS) $(VM_SCRIPTS)

deb install: setup
	@$(MAKE) --no-print-directory -f $(VM)/Makefile $@

setup-vm: setup
	@tests/lab/setup.sh $(VM)/packages.txt

image image-twice test-vm test-matrix wsl-image wsl-kernel: setup-vm
	@$(MAKE) --no-print-directory -f $(VM)/Makefile $@

clean:
	rm -rf build $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find ramnet tests -name __pycache__ -type d -prune -exec rm -rf {} +
