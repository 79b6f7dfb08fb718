# Every target sets up what it needs, from a fresh clone with Python 3.10+ and make.
PYTHON ?= python3
BIN := .venv/bin
ALIBI := .venv-alibi/bin
MLSERVER := .venv-mlserver/bin
MLFLOW := .venv-mlflow/bin
PIP := -m pip install -q --disable-pip-version-check
# One process a core; one that is out of work takes from the others. A single file is run by pytest alone.
PARALLEL := -n logical --maxprocesses 8 --dist worksteal
READY := .venv/.ready
ALIBI_READY := .venv-alibi/.ready
MLSERVER_READY := .venv-mlserver/.ready
MLFLOW_READY := .venv-mlflow/.ready

# What stands beside the package: examples, tools, and what tests share. (Grafana's types need 3.11.)
MYPY_BESIDE = --python-version 3.11 --explicit-package-bases examples dashboards tools docs/build.py docs/keys.py deploy/build.py \
  $(shell find tests -name '*.py' -not -name 'test_*' -not -path 'tests/alibi/*')

.PHONY: help setup demo test check format generated coverage mutants docs bench e2e clean

help:
	@echo "make demo      a live model, watched end to end (KEEP=1 stays up, STACK=1 adds Prometheus and Alertmanager)"
	@echo "make test      the tests, on every core (under five minutes)"
	@echo "make check     lint, types, layers"
	@echo "make generated  dashboards, rules and the pages under docs/ that are made from code"
	@echo "make coverage  the tests, with the lines and branches that they do not reach (slower than make test)"
	@echo "make mutants   the tests against broken copies of the ledger, of http1 and of the detectors (hours)"
	@echo "make docs      the documentation as a site, in site/"
	@echo "make e2e       tests against real servers (needs the Debian packages that .ci/run installs)"
	@echo "make bench     the benchmarks of docs/benchmarks.md, beside alibi-detect, nginx and others (hours)"

setup: $(READY)

NEEDED := import sys; sys.exit(sys.version_info < (3, 10) and "this needs Python 3.10 or later, and not " + sys.version.split()[0])
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

# A virtual environment in a folder: what is in its way is said, and nothing is left behind that cannot serve.
define environment
	@if test -e $(1) || test -L $(1); then \
	  $(1)/bin/python -c '$(NEEDED)' || { echo "$(1) cannot be used; remove it (make clean), then try again" >&2; exit 1; }; \
	  test "$(origin PYTHON)" = file || test "$$($(PYTHON) -c '$(VERSION)')" = "$$($(1)/bin/python -c '$(VERSION)')" || \
	    { echo "$(1) is of another Python than $(PYTHON); remove it (make clean), or leave PYTHON out" >&2; exit 1; }; \
	else \
	  $(PYTHON) -c '$(NEEDED)' || { echo "PYTHON=$(PYTHON) cannot be used; give another, as make setup PYTHON=python3.11" >&2; exit 1; }; \
	  $(PYTHON) -m venv $(1) || { rm -rf $(1); exit 1; }; \
	fi
endef

$(READY): pyproject.toml constraints.txt
	$(call environment,.venv)
	$(BIN)/python $(PIP) -c constraints.txt torch
	$(BIN)/python $(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

# alibi-detect needs numpy < 2, and MLServer a pydantic of its own: each lives apart from us.
$(ALIBI_READY): constraints-alibi.txt
	$(call environment,.venv-alibi)
	$(ALIBI)/python $(PIP) -c constraints-alibi.txt torch
	$(ALIBI)/python $(PIP) -c constraints-alibi.txt -e '.[fastapi]' alibi-detect pytest pytest-asyncio pytest-timeout tomli
	@touch $@

$(MLSERVER_READY): constraints-mlserver.txt
	$(call environment,.venv-mlserver)
	$(MLSERVER)/python $(PIP) -c constraints-mlserver.txt mlserver mlserver-sklearn
	@touch $@

# What of MLflow serves a model, without its tracking server.
$(MLFLOW_READY): constraints-mlflow.txt
	$(call environment,.venv-mlflow)
	$(MLFLOW)/python $(PIP) -c constraints-mlflow.txt mlflow-skinny scikit-learn pandas fastapi uvicorn
	@touch $@

demo: $(READY)
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep) $(if $(STACK),--stack)

test: $(READY)
	$(BIN)/python -m pytest $(PARALLEL)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(MYPY_BESIDE)
	$(BIN)/lint-imports

generated: $(READY)
	$(BIN)/python -m dashboards.build
	$(BIN)/python deploy/build.py
	$(BIN)/python docs/build.py
	$(BIN)/python docs/keys.py

coverage: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered

mutants: $(READY)
	$(BIN)/python -m tools.mutants $(MUTANTS)

docs: $(READY)
	$(BIN)/zensical build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

e2e: $(READY) $(ALIBI_READY) $(MLSERVER_READY) $(MLFLOW_READY)
	$(ALIBI)/python -m pytest tests/alibi --confcutdir=tests/alibi -o filterwarnings=default
	$(BIN)/python -m pytest -m e2e tests

bench: $(READY) $(ALIBI_READY)
	$(BIN)/python -m benchmarks.install
	$(BIN)/python -m benchmarks.hook
	$(BIN)/python -m benchmarks.hook_soak
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.follower
	$(BIN)/python -m benchmarks.proxy
	$(BIN)/python -m benchmarks.engine_exactness
	$(ALIBI)/python -m benchmarks.alibi_agreement
	$(ALIBI)/python -m benchmarks.engine_speed
	$(ALIBI)/python -m benchmarks.calibration
	$(BIN)/python -m benchmarks.run_length
	$(ALIBI)/python -m benchmarks.run_length_alibi
	$(ALIBI)/python -m benchmarks.delay

clean:
	rm -rf .venv .venv-alibi .venv-mlserver .venv-mlflow
