# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each target first lets scripts/setup bring what it needs; where nothing is missing that takes no time.

SHELL := /bin/bash
BIN := .venv/bin

# The suites for which it matters whether the codec and the streams are compiled: they run on both.
TWICE := $(addprefix tests/,streams websocket engineio socketio serving cli faults properties)

.PHONY: help demo test test-sanitize lint coverage conformance bench scale clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         open the demonstration chat on http://127.0.0.1:8000"
	@echo "make test         lint, then run all tests (the browser's too), compiled and pure"
	@echo "make lint         ruff, mypy --strict and pyright"
	@echo "make coverage     each codec module, branch by branch, by its own tests"
	@echo "make test-sanitize  the tests on compiled modules that watch every memory access (10 minutes)"
	@echo "make conformance  every case of the Autobahn suite, as server and as client"
	@echo "make bench        Telex beside its peers: cost per message, and whether it meets its bars (30 minutes)"
	@echo "make scale        19,000 connections, and a million sessions: is anything lost, is the loop ever late (3 minutes)"
	@echo "make clean        remove what the other targets made"

demo:
	@scripts/setup python node
	@exec $(BIN)/python scripts/demo

test:
	@scripts/setup python node browser redis
	@$(MAKE) --no-print-directory lint
	@if ! $(BIN)/python -c 'import sys, telex.native; sys.exit(telex.native.describe() != "native")'; then \
		echo "telex: tests, on the pure Python twins alone: nothing is compiled here"; \
		TELEX_PURE=1 $(BIN)/python -m pytest; \
	else \
		echo "telex: tests, compiled (1 of 2)" && \
		$(BIN)/python -m pytest && \
		echo "telex: tests, pure Python (2 of 2)" && \
		TELEX_PURE=1 $(BIN)/python -m pytest $(TWICE); \
	fi

test-sanitize:
	@scripts/setup python
	@scripts/sanitize

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

bench:
	@scripts/setup python
	@$(BIN)/python -m benchmarks

scale:
	@scripts/setup python
	@$(BIN)/python -m benchmarks.crowd
	@$(BIN)/python -m benchmarks.million

clean:
	@rm -rf .venv node_modules .cache .hypothesis .coverage build dist src/*.egg-info
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
