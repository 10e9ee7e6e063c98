# Paths are relative, so that a folder with spaces in its name works: `make -C "/some where/stepmark" run`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test lint format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: .venv/.installed ## Start everything on this machine (HOST=127.0.0.1 PORT=8000); Ctrl-C stops it
	@$(BIN)/python manage.py run_stack

test: lint ## Run all checks and tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/.installed-dev ## Check style, types, import rules and migrations
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy annotator workers tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

format: .venv/.installed-dev ## Format the code and fix what can be fixed
	$(BIN)/python -m ruff format
	$(BIN)/python -m ruff check --fix

clean: ## Remove .venv and caches, never the data in var/
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Stepmark needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Cannot make .venv; on Debian install python3-venv."; exit 1; }

# torch comes first and exactly pinned, so that nothing else can pull in another build of it.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing Stepmark into .venv; the first time takes a few minutes …"
	@$(PIP) torch==2.13.0
	@$(PIP) -c constraints.txt -e ".[embedded,worker]"
	@touch $@

.venv/.installed-dev: .venv/.installed
	@$(PIP) -c constraints.txt -e ".[embedded,worker,dev]"
	@touch $@
