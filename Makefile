# run · test · check · bench: each sets up what it needs, on a machine with Python 3.11+, Node 20 and make.

PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
PORT     ?= 8000
DATA_DIR ?= .data

.DEFAULT_GOAL := help
.PHONY: docs help setup web web-check run test test-pythons check format lint types imports bench bench-wire bench-limits bench-cache bench-sessions bench-http bench-realtime bench-warming bench-web staleness soak lock clean

help:  ## Lists the commands.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock valtier/pyproject.toml fluxstudio/pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/setup.sh
	@touch $@

setup: $(VENV)/.installed  ## Installs the locked dependencies and both packages into .venv.

WEB    := fluxstudio/web
STATIC := fluxstudio/src/fluxstudio/static

$(WEB)/node_modules/.installed: $(WEB)/package.json $(WEB)/package-lock.json
	@echo "Installing what the browser's side is built with …"
	@cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(STATIC)/.built: $(WEB)/node_modules/.installed $(shell find $(WEB)/src $(WEB)/public $(WEB)/index.html $(WEB)/vite.config.ts -type f 2>/dev/null)
	@echo "Building the browser's side …"
	@cd $(WEB) && npm run --silent build -- --logLevel error

web: $(STATIC)/.built  ## Builds the browser's side, if its sources changed.

web-check: $(WEB)/node_modules/.installed $(STATIC)/.built  ## Checks the types of the browser's side, strictly.
	@cd $(WEB) && npm run --silent types

run: setup web  ## Starts PostgreSQL, Valkey and FluxStudio. Options: PORT=8000 DATA_DIR=.data
	@exec $(BIN)/fluxstudio up --port "$(PORT)" --data-dir "$(DATA_DIR)"

test: setup web  ## Runs every test; starts the servers it needs on free ports.
	@$(BIN)/python tools/chromium.py || true
	@$(BIN)/pytest $(ARGS)

test-pythons: setup  ## Runs valtier's core tests with the other Pythons, 3.11 to 3.13, that are here. Options: ARGS=valtier/tests
	@PYTHON="$(BIN)/python" sh tools/pythons.sh $(ARGS)

check: setup format-check lint types imports web-check test  ## What CI runs.

format: setup  ## Formats the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --select I .

.PHONY: format-check
format-check: setup
	@$(BIN)/ruff format --check .

lint: setup  ## Lints the code.
	@$(BIN)/ruff check .

types: setup  ## Checks the types, strictly.
	@$(BIN)/mypy

imports: setup  ## Checks who imports whom.
	@$(BIN)/lint-imports

bench: setup  ## FluxStudio without and with the cache, in one run (alone: bench-wire, bench-cache).
	@$(BIN)/fluxstudio bench $(ARGS)

bench-wire: setup  ## The wire and the other asyncio clients, in one run: about ten minutes.
	@$(BIN)/python -m bench.wire $(ARGS)

bench-limits: setup  ## valtier.limits and other limiters, in one run: about five minutes. Options: ARGS="--short"
	@$(BIN)/python -m bench.limits $(ARGS)

bench-cache: setup  ## The cache and the other libraries, in one run: about five minutes. Options: ARGS="--short"
	@$(BIN)/python -m bench.cache $(ARGS)

bench-sessions: setup  ## valtier's sessions and starsessions, in one run. Options: ARGS="--short"
	@$(BIN)/python -m bench.sessions $(ARGS)

bench-http: setup  ## The response cache, other libraries' and the bare server, in one run: about ten minutes.
	@$(BIN)/python -m bench.http $(ARGS)

bench-realtime: setup  ## Socket.IO on two processes, the stock manager and Node, in one run. Options: ARGS="--short"
	@$(BIN)/python -m bench.realtime $(ARGS)

bench-warming: setup  ## The first minute after a deploy and a flush, cold and warmed: a quarter of an hour. Options: ARGS="--short"
	@$(BIN)/python -m bench.warming $(ARGS)

bench-web: setup web  ## The studio in Chromium: visits, weight, frames, cursors. Options: ARGS="--short"
	@$(BIN)/python tools/chromium.py || true
	@$(BIN)/python -m bench.web $(ARGS)

staleness: setup  ## valtier and its peers under random faults: who is ever stale. Options: ARGS="--short"
	@$(BIN)/python -m bench.staleness $(ARGS)

soak: setup  ## The wire under random faults, ten minutes. Options: ARGS="--minutes 60 --seed 7"
	@$(BIN)/python -m valtier.testing.soak $(ARGS)

docs: setup  ## Builds the site of the docs into site/, strictly.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lock:  ## Resolves requirements.in anew into requirements.lock; KEEP=1 only adds what is new.
	@PYTHON="$(PYTHON)" KEEP="$(KEEP)" sh tools/lock.sh
	@echo "Now: make setup && $(BIN)/python tools/runtime_lock.py"

clean:  ## Removes what `make` has made, but not the data.
	rm -rf $(VENV) .venv-3.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
