# Every target sets up what it needs, from a fresh clone with Python 3.10+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ALIBI_READY := .venv-alibi/.ready

.PHONY: help setup demo test check bench e2e format clean

help:
	@echo "make demo    a live model, watched end to end (KEEP=1 stays up, STACK=1 adds Prometheus and Alertmanager)"
	@echo "make test    the tests (under five minutes)"
	@echo "make check   lint, types, layers, generated files"
	@echo "make e2e     tests against real servers (needs the Debian packages that .ci/run installs)"
	@echo "make bench   the benchmarks of docs/benchmarks.md"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep) $(if $(STACK),--stack)

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

e2e: $(READY)
	$(BIN)/python -m pytest -m e2e tests

clean:
	rm -rf $(VENV) .venv-* .build
