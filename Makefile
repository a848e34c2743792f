# Needs make, python3.11 (or a newer python3) and python3-venv; sets up everything else by itself:
# uv at a pinned version in .tools, the locked packages in .venv. A second call skips both.
# A failed recipe exits 1, which make itself reports as its own exit code 2.

UV_VERSION := 0.13.9
# The first of these that exists and is new enough for requires-python.
PYTHON ?= $(firstword $(foreach candidate,python3.11 python3,$(shell \
	$(candidate) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(candidate))))

# Two at once: many wait, and three make good answers late on two cores; on a real server of yours one by one.
# In the order of their folders: the slow ones, crash and e2e, come first, so that none is left alone at the end.
WORKERS := $(if $(QDRANT_URL),0,2)

UV := .tools/bin/uv
UV_READY := .tools/uv-$(UV_VERSION)
READY := .venv/ready
# Never fetch an interpreter: the one that was found is the one that runs.
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format crash bench catalog lock clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Set up .venv and nothing else

demo: $(READY) ## Watch two embedded Qdrant servers under load; Ctrl-C ends it
	@.venv/bin/qdrant-exporter demo

test: $(READY) ## Run the tests; ARGS="-k lag" passes arguments on
	@.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY) ## Lint, format, types, Dockerfile, lock file
	.venv/bin/ruff check exporter tests
	.venv/bin/ruff format --check exporter tests
	.venv/bin/mypy
	.venv/bin/hadolint Dockerfile
	$(UV) lock --check --quiet

format: $(READY) ## Format the code and sort its imports
	.venv/bin/ruff check --fix exporter tests
	.venv/bin/ruff format exporter tests

crash: $(READY) ## Kill alerting and backups hundreds of times, and print what was seen; minutes
	@CRASH_KILLS=$${CRASH_KILLS:-300} .venv/bin/python -m pytest tests/crash $(ARGS)

bench: $(READY) ## Measure what the README claims; takes some minutes
	@.venv/bin/python -m tests.bench

catalog: $(READY) ## Write the tables of sources, metrics and rules, and the rules for Prometheus
	@.venv/bin/python -m exporter.catalog README.md alerts/README.md
	@.venv/bin/qdrant-exporter rules export --dir alerts/prometheus >/dev/null

lock: $(UV_READY) ## Bring uv.lock up to pyproject.toml
	$(UV) lock

clean: ## Remove everything that was set up
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

$(UV_READY):
	@test -n "$(PYTHON)" || { \
		echo "Python 3.11 or newer is missing. Install it with:"; \
		echo "    sudo apt install python3.11 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. Install what is missing with:"; \
		echo "    sudo apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; exit 1; }
	$(PYTHON) -m venv --clear .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# Bytecode now: where it may not be written later, each start would compile every library again.
$(READY): $(UV_READY) pyproject.toml uv.lock
	$(UV) sync --locked --extra demo --extra edge --extra s3 --python $(PYTHON) --compile-bytecode --quiet
	@touch $@
