# Every target bootstraps what it needs: python3, make and the package registries are enough.
# No root, no Docker, no key, no GPU.

PYTHON ?= python3
TOOLS := .tools
VENV := .venv
BIN := $(VENV)/bin
UV := $(TOOLS)/bin/uv
INSTALLED := $(VENV)/.installed
# Python keeps what it has compiled, unless it is told not to: then every process would begin anew.
BYTECODE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
# A registry that does not answer is asked again for a few minutes.
export PIP_RETRIES ?= 8
export UV_HTTP_RETRIES ?= 8
LOCKS := api worker gateway stack dev
CLIENTS := mlflow28 mlflow222 mlflow3

.PHONY: help demo up down test check unit faults bench lock wheels clean

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: $(INSTALLED) ## Run the first job on two real local models and compare them; REUSE=1 buys nothing twice
	@$(BIN)/hikaku status >/dev/null 2>&1 || $(BIN)/hikaku up --detach
	@$(BIN)/hikaku models pull
	@$(BIN)/hikaku run examples/first-job.yaml --watch --max-error-rate 1 $(if $(REUSE),--reuse)
	@echo "Everything goes on running for you to look around; 'make down' stops it."

up: $(INSTALLED) ## Start everything on this machine, until Ctrl-C
	@$(BIN)/hikaku up

down: $(INSTALLED) ## Stop what 'make demo' started
	@$(BIN)/hikaku down

test: $(INSTALLED) ## Run all tests, with real parts, two files at a time
	@$(BIN)/python -m pytest -q -p no:cacheprovider --numprocesses 2 --dist loadfile tests

check: $(INSTALLED) ## Format, lint, types, import directions, unit tests: under a minute
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/unit

unit: $(INSTALLED) ## Run the unit tests alone
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/unit

faults: $(INSTALLED) ## Kill, freeze and cut off everything at random for about 25 minutes, and write a table; SEED=7 repeats one run
	@$(BIN)/python -m tests.faults.soak $(if $(SEED),--seed $(SEED)) --report build/faults.md

bench: $(INSTALLED) ## Run the benchmarks, each beside its floor
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

wheels: $(UV) ## Build the wheels and import every program in a clean environment
	@sh .ci/wheels

lock: $(UV) ## Resolve the dependencies anew, one hashed file per process
	@for name in api worker gateway stack; do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate --extra $$name pyproject.toml -o requirements/$$name.txt || exit 1; \
	done
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate --extra stack --group dev \
	    pyproject.toml client/pyproject.toml -o requirements/dev.txt
	@for name in $(CLIENTS); do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate requirements/clients-$$name.in -o requirements/clients-$$name.txt || exit 1; \
	done

clean: ## Remove what the targets made, but not .hikaku
	rm -rf $(VENV) $(TOOLS) dist build .pytest_cache .mypy_cache .ruff_cache

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hikaku needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --require-hashes --requirement requirements/uv.txt

$(INSTALLED): $(UV) requirements/dev.txt pyproject.toml client/pyproject.toml
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet $(BYTECODE) --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . --editable client
	@touch $@
