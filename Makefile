# make demo   sets up and runs the papers, scaled, on the embedded corpus; writes results/demo/report.html
# make test   sets up and passes the tests (pytest's own summary comes last)
# make slow   trains on the embedded corpus and runs the notebooks anew
# make bench  measures what the README states, in one table (python -m benchmarks --write puts it there)

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test slow lint bench clean

$(VENV)/.run: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (about 3 GB with TensorFlow; a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(INSTALL) -e '.[dev]'
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/ser reproduce all --demo --results results/demo

test: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.dev
	@$(BIN)/pytest -m slow

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build *.egg-info
