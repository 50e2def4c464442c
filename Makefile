# Two commands do everything on a fresh machine: `make train` (the main job) and `make test` (all checks).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# the CPU build is a tenth of the size of the CUDA build; where its index cannot be reached, PyPI decides
TORCH     ?= torch==2.13.0
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# the timer covers looking the name up, which no timeout of urllib does
PROBE      = import os, threading, urllib.request; \
             timer = threading.Timer(5, os._exit, [1]); timer.daemon = True; timer.start(); \
             urllib.request.urlopen("$(CPU_INDEX)/torch/", timeout=5); os._exit(0)

# what some tests run beside Python: a browser, a compiler, packages of the browser's own registry
PROGRAMS = chromium gcc npm clang lld strace

# of what the locks name, only ready wheels whose SHA-256 is in them, and nothing besides
LOCKED   = install -q --no-compile --require-hashes --no-deps --only-binary :all: -r
COMPILE  = $(VENV)/tools/bin/uv pip compile -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
             --custom-compile-command 'make lock' --no-emit-package torch
# pip-audit's own choice is PyPI's copy of the advisories
AUDIT   ?=

.PHONY: train test test-long torture wheel lock audit engine lint setup programs help

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 14

train: setup     ## the main job: CIFAR-10 to 85 % with the report
	$(BIN)/flyweight train sprint2 --fallback digits

# a process a core; threads of several processes that wait for each other would take many times as long
test: lint programs  ## all checks: style, types, tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

test-long: setup programs ## the tests that take minutes
	$(BIN)/pytest -m long --timeout 3600

torture: setup programs ## prove what docs/reliability.md promises; table and picture in runs/torture
	$(BIN)/python tools/torture.py runs/torture

# from a copy of what git has: what an older build left in build/ would get into the wheel
wheel: setup     ## build the wheel into dist/, its bill of materials beside it, and try it in an empty virtual environment outside the checkout
	rm -rf dist
	copy=$$(mktemp -d) && git archive HEAD | tar -x -C $$copy && \
	  $(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist $$copy; built=$$?; rm -rf $$copy; exit $$built
	$(BIN)/python tools/bom.py dist $(TORCH)
	FLYWEIGHT_WHEEL=$$(echo dist/*.whl) $(BIN)/pytest -m long --timeout 3600 tests/test_wheel.py

lock: $(VENV)/tools/.ready ## write the locks anew where pyproject.toml asks for it; UPGRADE=--upgrade: the newest of all
	$(COMPILE) --extra export --extra search pyproject.toml -o locks/run.txt
	$(COMPILE) -c locks/run.txt --extra dev pyproject.toml -o locks/dev.txt
	$(COMPILE) -c locks/dev.txt locks/tools.in -o locks/tools.txt

# --strict: what is not looked up, as where nobody can be asked, is no success
audit: $(VENV)/tools/.ready ## ask for known holes in all that is locked (needs the network)
	echo $(TORCH) >$(VENV)/tools/torch.txt
	$(VENV)/tools/bin/pip-audit --strict --progress-spinner off $(AUDIT) --disable-pip --no-deps -r $(VENV)/tools/torch.txt
	$(VENV)/tools/bin/pip-audit --strict --progress-spinner off $(AUDIT) --disable-pip --require-hashes \
	  -r locks/dev.txt -r locks/tools.txt

engine:          ## build the demo's engine, which is committed, from its C (needs clang and lld)
	$(PYTHON) tools/engine.py

lint: setup      ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# only root of a Debian machine can; elsewhere the tests that need them are skipped and say so
programs:        ## what some tests need: Chromium, gcc, npm, clang, strace, PostgreSQL (as root of a Debian machine)
	@missing=; for program in $(PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -d /usr/lib/postgresql ] || command -v initdb >/dev/null || missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing libc6-dev >/dev/null && exit 0; \
	fi; \
	echo "WARNING: this machine has no$$missing: the tests that need them are SKIPPED" >&2

setup: $(VENV)/.ready

# torch's own files stand in no lock: those of the CPU index and those of PyPI are different ones
$(VENV)/.ready: pyproject.toml locks/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flyweight needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip $(LOCKED) locks/dev.txt
	@if ! command -v nvidia-smi >/dev/null && $(PYTHON) -c '$(PROBE)' >/dev/null 2>&1; then \
	  set -x; $(BIN)/python -m pip install -q --no-compile --index-url $(CPU_INDEX) $(TORCH); \
	else \
	  set -x; $(BIN)/python -m pip install -q --no-compile $(TORCH); \
	fi
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@# on all cores at once, where pip would take one; some packages hold files that are no Python
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(VENV)/tools/.ready: locks/tools.txt
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/python -m pip $(LOCKED) locks/tools.txt
	@touch $@
