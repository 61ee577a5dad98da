# Each target works from a fresh clone: it makes .venv itself from the lock file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q --numprocesses 4 --dist worksteal --durations 25
# The tests start hundreds of processes of ours: Python compiles us once, and not in each of them.
test test-all: export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-all fuzz lint bench bench-rules schema chart lock clean
setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found - install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is too old - Python 3.11 or newer is needed, say make PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV) (about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/trading-watchdog demo

# What everybody must see pass: the facts of every package, one crash, one night. Three minutes on two cores at most.
test: setup
	@$(PYTEST) --hypothesis-profile quick -m "not slow"

# Everything: that, then every crash, every night, a real systemd, the differential tests, and the property tests once more with all
# their examples. Twenty minutes at most.
test-all: test
	@$(PYTEST) -m "slow or hypothesis"

# What others write, made up by atheris: ten MINUTES in all, shared among the targets, or so many SECONDS for each of TARGETS.
# `make test` asks the same targets without it.
MINUTES ?= 10
fuzz: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "atheris>=2.3"
	@$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS),--minutes $(MINUTES)) $(TARGETS)

lint: setup
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check
	$(BIN)/mypy

bench: setup
	@$(BIN)/python -m benchmarks

# What the rules in rules/ do to good and bad versions of the example bot, at three paces. Some minutes.
bench-rules: setup
	@$(BIN)/python -m benchmarks.shipped_rules

schema: setup
	@$(BIN)/trading-watchdog schema --rules > docs/schema/rules.schema.json
	@$(BIN)/trading-watchdog schema --main > docs/schema/watchdog.schema.json

# What docs/chat.md shows: the outcome of the incident of one run of the demo.
chart: setup
	@$(BIN)/python -m tests.docs.draw_chart

lock: setup
	@$(BIN)/python -m pip install --quiet uv
	@echo 'setuptools>=77' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --all-extras --output-file requirements.lock pyproject.toml -

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
