# the first that has all of its wheels; python3, which is told why not, where none has
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each .ci/fits.py requirements.lock 2> /dev/null && echo $$each && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= corpus/demo

.PHONY: help demo check test test-slow test-loaders test-loaders-all test-dask test-hosts test-python lint lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/installed ## set up, then build a small corpus from all nine sources
	$(BIN)/redpajama build manifests/demo.toml --out $(OUT)

test: check ## set up, then check all

check: lint ## format, lint, types, tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal \
		-m "not loaders and not loaders_all and not slow and not dask and not hosts"

test-slow: $(VENV)/installed ## the tests that take minutes
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "slow and not dask and not hosts"

test-loaders: $(VENV)/installed $(VENV)-loaders/installed ## open shards and exports with the trainers' own readers
	$(BIN)/python -m pytest -q -m loaders

# each reader that conflicts with the others has an environment of its own
test-loaders-all: test-loaders $(VENV)-loaders-mds/installed $(VENV)-loaders-olmo/installed ## the others, too (minutes)
	$(BIN)/python -m pytest -q -m loaders_all

test-dask: $(VENV)/installed $(VENV)-dask/installed ## a build on Dask: two worker processes, one of them killed
	$(VENV)-dask/bin/python -m pytest -q -m dask tests/test_dask.py

test-hosts: $(VENV)/installed $(VENV)-dask/installed ## a build on two hosts (network namespaces; skips where none may be made)
	$(VENV)-dask/bin/python -m pytest -q -rs -m hosts tests/test_hosts.py

test-python: $(VENV)/installed ## what CI tests on other Pythons: PYTHON=python3.13 VENV=.venv-3.13
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/test_demo.py tests/test_layout.py tests/test_golden.py

lint: $(VENV)/installed ## format, lint and types alone
	$(BIN)/ruff format --check redpajama tests bench .ci
	$(BIN)/ruff check redpajama tests bench .ci
	$(BIN)/mypy

lock: $(VENV)-lock/installed ## make requirements.lock anew; LOCK="--upgrade-package numpy" for newer versions
	PATH="$(CURDIR)/$(VENV)-lock/bin:$$PATH" $(VENV)-lock/bin/python .ci/lock.py $(LOCK)

clean: ## remove the environments and the demo's corpus
	rm -rf $(VENV) $(VENV)-loaders $(VENV)-loaders-mds $(VENV)-loaders-olmo $(VENV)-dask $(VENV)-lock corpus

$(VENV)/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || { $(PYTHON) .ci/fits.py requirements.lock && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# any torch will do for megatron-core; TORCH names the one to install where none is there
TORCH ?= torch
$(VENV)-loaders/installed: Makefile
	test -x $(VENV)-loaders/bin/python || $(PYTHON) -m venv $(VENV)-loaders
	$(VENV)-loaders/bin/python -m pip install --quiet "$(TORCH)"
	$(VENV)-loaders/bin/python -m pip install --quiet megatron-core==0.16.1 megatron-tokenizer-lite==0.0.2 \
		datasets==5.2.0 pyarrow==26.0.1 zstandard datatrove==0.10.1 tokenizers orjson humanize transformers==5.24.0 \
		filelock requests boto3 tifffile lightning-utilities obstore
	$(VENV)-loaders/bin/python -m pip install --quiet --no-deps litdata==0.2.76 # without torchvision, which breaks GPTNeoX
	touch $@

$(VENV)-loaders-mds/installed: Makefile
	test -x $(VENV)-loaders-mds/bin/python || $(PYTHON) -m venv $(VENV)-loaders-mds
	$(VENV)-loaders-mds/bin/python -m pip install --quiet "$(TORCH)" mosaicml-streaming==0.13.0
	touch $@

$(VENV)-loaders-olmo/installed: Makefile
	test -x $(VENV)-loaders-olmo/bin/python || $(PYTHON) -m venv $(VENV)-loaders-olmo
	$(VENV)-loaders-olmo/bin/python -m pip install --quiet "$(TORCH)" ai2-olmo-core==3.0.0
	touch $@

# all that $(VENV) has, and Dask
DASK ?= dask[distributed]==2026.8.0
$(VENV)-dask/installed: $(VENV)/installed Makefile
	test -x $(VENV)-dask/bin/python || $(BIN)/python -m venv $(VENV)-dask
	$(BIN)/python -c "import sysconfig; print('$(CURDIR)', sysconfig.get_path('purelib'), sep='\n')" \
		> "$$($(VENV)-dask/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/main.pth"
	$(VENV)-dask/bin/python -m pip install --quiet "$(DASK)"
	touch $@

$(VENV)-lock/installed: Makefile
	test -x $(VENV)-lock/bin/python || $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet "uv>=0.9" packaging
	touch $@
