# Two commands matter: `make demo` and `make test`. Everything they need is built in .venv.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz-api faults faults-quick bench bench-quick lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

demo: .venv/demo.stamp ## sign a user up, reset a password, show the two emails; stays up
	@$(BIN)/mailer dev --demo

# Three at a time on two cores: many tests wait for real processes.
test: .venv/test.stamp .venv/node.stamp ## ruff, mypy --strict, bandit and every test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive mailer make_celery.py
	$(BIN)/pytest --numprocesses 3

fuzz-api: .venv/test.stamp ## ask the HTTP API for all that it describes and more, for half an hour
	FUZZ=long $(BIN)/pytest tests/api/test_fuzz.py -s

faults-quick: .venv/test.stamp ## kill and break everything with small counts, in some minutes
	$(BIN)/pytest tests/faults --numprocesses 3

faults: .venv/test.stamp ## the same at length, in some hours; writes the table of docs/reliability.md
	FAULTS=long $(BIN)/pytest tests/faults -s

bench-quick: .venv/test.stamp ## measure against the documented pattern with small counts, in a minute
	@$(BIN)/python -m benchmarks --quick

bench: .venv/test.stamp ## the same at length, in 16 minutes; writes docs/performance.md and its chart
	@$(BIN)/python -m benchmarks

.venv/python.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "mailer needs Python 3.11 or newer and there is no $(PYTHON). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("mailer needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "mailer needs pip and $(PYTHON) has none: apt install python3-pip, or $(PYTHON) -m ensurepip" >&2; exit 1; }
	@echo "Making .venv; the packages take a minute the first time"
	@$(PYTHON) -m venv --without-pip .venv
	@touch $@

# pip of the outer Python fills the environment: no ensurepip needed (Debian ships it apart).
INSTALL = $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check
.venv/%.stamp: requirements/%.txt pyproject.toml .venv/python.stamp
	@$(INSTALL) --require-hashes -r requirements/$*.txt
	@$(INSTALL) --no-deps --no-build-isolation --no-index -e .
	@touch $@

# What stands in for programs in Node; without npm their tests are skipped.
.venv/node.stamp: tests/node/package-lock.json .venv/python.stamp
	@if command -v npm >/dev/null; then \
		cd tests/node && npm ci --ignore-scripts --no-audit --no-fund --silent && touch ../../$@; \
	else echo "no npm here: the tests of Node are skipped"; fi

lock: ## write requirements/*.txt anew from pyproject.toml
	requirements/lock.sh

clean: ## remove the environment and everything the demo stored
	rm -rf .venv tests/node/node_modules var instance .mypy_cache .ruff_cache .pytest_cache .hypothesis
