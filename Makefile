# Each target is explained by `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-all check format lock docs dist

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (the first time takes a minute or two)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Take the example model the whole way and ask it for a prediction
	@$(BIN)/towpath demo

test: $(STAMP) ## Run all tests but the long ones
	$(BIN)/pytest -m "not long"

test-fast: $(STAMP) ## Run the developer loop: no real engines, no whole platforms
	$(BIN)/pytest -q -m "not long" tests/unit tests/contract

test-all: $(STAMP) ## Run every test, the long ones too, and report coverage
	$(BIN)/pytest --cov --cov-report=term:skip-covered

check: $(STAMP) ## Check format, lint, layers, types, generated docs
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

format: $(STAMP) ## Format the code and sort its imports
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .

lock: $(STAMP) ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --all-extras --group dev -o requirements.lock pyproject.toml

docs: $(STAMP) ## Generate the reference from the code
	$(BIN)/python docs/generate.py

dist: $(STAMP) ## Build wheel and sdist, and run the wheel's demo in an empty environment
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist .
	rm -rf build/empty && $(PYTHON) -m venv build/empty
	build/empty/bin/pip install -q --disable-pip-version-check dist/*.whl
	cd build && env -i PATH="$$PATH" HOME="$$HOME" empty/bin/towpath demo
