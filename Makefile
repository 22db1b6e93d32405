# `make demo` and `make test` work from a fresh clone: the first call makes .venv and fills it,
# later calls never touch the network (a stamp file remembers; it goes stale when pyproject.toml
# or constraints.txt changes). To choose the interpreter: make demo PYTHON=/path/to/python3.12

PYTHON ?=
VENV   := .venv
STAMP  := $(VENV)/.installed
RUN    := $(VENV)/bin/python -m

# Tests run side by side, a process a core up to four, each with one thread.
PYTEST := OMP_NUM_THREADS=1 $(RUN) pytest -n auto --maxprocesses 4 --dist worksteal

# PyTorch wheels of the pinned version are surest for 3.11, so that comes first.
CANDIDATES := python3.11 python3.12 python3.13 python3
USABLE     := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint types docs notebooks package clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)  ## the whole main job on a small example, in about a minute
	$(VENV)/bin/mlsbi demo

test: $(STAMP)  ## the fast tests
	$(PYTEST)

slow: $(STAMP)  ## the slow tests: statistics, the paper's tasks
	$(PYTEST) -m slow

lint: $(STAMP)  ## ruff
	$(RUN) ruff check .

types: $(STAMP)  ## mypy
	$(RUN) mypy

docs: $(STAMP)  ## the documentation site, in docs/_build/html
	$(RUN) sphinx -q -E -W --keep-going -d docs/_build/doctrees docs docs/_build/html

notebooks: $(STAMP)  ## two of the examples' notebooks, executed from the top
	$(PYTEST) -m slow tests/test_examples_run.py

package: $(STAMP)  ## build wheel and sdist, install the wheel into an empty environment, use it
	PYTHON=$(VENV)/bin/python .ci/package

clean:  ## remove caches, build outputs and .venv
	rm -rf $(VENV) build dist docs/_build mlsbi-demo .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@chosen=; \
	for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	  if "$$python" -c '$(USABLE)' 2>/dev/null; then chosen=$$python; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "mlsbi needs Python 3.11 or newer with its venv and ensurepip modules;" >&2; \
	  for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	    echo "  $$python: $$("$$python" --version 2>&1 | head -n 1)" >&2; \
	  done; \
	  echo "none of these will do. Name one that will: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12" >&2; \
	  echo "(on Debian and Ubuntu the two modules come with: apt install python3-venv)" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$chosen" --version) ($$chosen)"; \
	"$$chosen" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(VENV)/bin/python -c '$(USABLE)' || { \
	  echo "$(VENV) holds $$($(VENV)/bin/python --version), and mlsbi needs Python 3.11 or newer:" \
	    "remove it (make clean) and call make again" >&2; exit 1; }
	@echo "Installing mlsbi and what it needs into $(VENV) (once; PyTorch is large)"
	$(RUN) pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
