PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= corpus/demo

.PHONY: help demo test test-slow test-loaders lint bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/installed ## set up, then build a small corpus from all nine sources
	$(BIN)/redpajama build manifests/demo.toml --out $(OUT)

test: $(VENV)/installed ## set up, then lint and run the tests
	$(BIN)/ruff check redpajama tests bench
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not loaders and not slow"

test-slow: $(VENV)/installed ## the tests that take minutes
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m slow

test-loaders: $(VENV)/installed $(VENV)-loaders/installed ## open the shards with the trainers' own readers
	$(BIN)/python -m pytest -q -m loaders

lint: $(VENV)/installed ## ruff
	$(BIN)/ruff check redpajama tests bench

clean: ## remove the environments and the demo's corpus
	rm -rf $(VENV) $(VENV)-loaders corpus

$(VENV)/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# any torch will do for megatron-core; TORCH names the one to install where none is there
TORCH ?= torch
$(VENV)-loaders/installed: Makefile
	test -x $(VENV)-loaders/bin/python || $(PYTHON) -m venv $(VENV)-loaders
	$(VENV)-loaders/bin/python -m pip install --quiet "$(TORCH)"
	$(VENV)-loaders/bin/python -m pip install --quiet megatron-core==0.16.1 tokenizers pyarrow
	touch $@
