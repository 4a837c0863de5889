# The verbs. Each works on a fresh machine with Python 3.11+, make and a package index; a second run takes seconds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# `make score` says how well instrumentations are understood, payload by payload.
.PHONY: setup demo test check lint types architecture bench score faults lock format clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Spanledger needs Python 3.11 or newer; set PYTHON=python3.11")'
	@echo "Setting up $(VENV): about a gigabyte of packages the first time (ClickHouse is one of them)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $(READY)
	@echo "Ready."

demo: setup
	@$(BIN)/spanledger demo

test: setup
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

architecture: setup
	$(BIN)/python -m pytest -q tests/architecture

check: lint types test

bench: setup
	$(BIN)/python tests/bench/run.py

score: setup
	$(BIN)/python tests/score/score.py --verbose

# Half an hour: kills, crash points, power cuts, full disks, leaping clocks; `make test` has a short form.
faults: setup
	$(BIN)/python tests/faults/run.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra server --extra test --universal --python-version 3.11 \
		--no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis bench-results
