# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each target first lets scripts/setup bring what it needs; where nothing is missing that takes no time.

SHELL := /bin/bash
BIN := .venv/bin

.PHONY: help demo test lint coverage conformance clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         open the demonstration chat on http://127.0.0.1:8000"
	@echo "make test         lint, then run all tests (the browser's too)"
	@echo "make lint         ruff, mypy --strict and pyright"
	@echo "make coverage     each codec module, branch by branch, by its own tests"
	@echo "make conformance  every case of the Autobahn suite, as server and as client"
	@echo "make clean        remove what the other targets made"

demo:
	@scripts/setup python node
	@exec $(BIN)/python scripts/demo

test:
	@scripts/setup python node browser
	@$(MAKE) --no-print-directory lint
	@echo "telex: tests"
	@$(BIN)/python -m pytest

lint:
	@scripts/setup python node
	@echo "telex: ruff check"
	@$(BIN)/ruff check --quiet .
	@echo "telex: ruff format --check"
	@$(BIN)/ruff format --check --quiet .
	@echo "telex: mypy --strict"
	@$(BIN)/mypy --no-error-summary
	@echo "telex: pyright"
	@node_modules/.bin/pyright --level error

coverage:
	@scripts/setup python
	@$(BIN)/python scripts/coverage

conformance:
	@scripts/setup python
	@$(BIN)/python -m tests.conformance

clean:
	@rm -rf .venv node_modules .cache .hypothesis .coverage build dist src/*.egg-info
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
