# Every target sets up what it needs; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eo pipefail -c
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14; do command -v $$name && break; done)
export PYTHON
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
GENGAP := $(BIN)/python -m gengap.cli
ENV := .venv/.installed
TOOLS := .venv/tools

.PHONY: help book pdf test test-runs test-cluster lint sync sweep ladder report lock audit clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

$(ENV): requirements.lock cpu.lock cuda.lock pyproject.toml
	@command -v "$$PYTHON" > /dev/null || { echo "error: no Python here: install Python 3.11 or newer, or name yours with 'make PYTHON=...'"; exit 1; }
	test -x $(BIN)/python || "$$PYTHON" -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r cpu.lock 2> /dev/null || true  # an index may have no such build
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -c "import torch" 2> /dev/null || $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r cuda.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

book: $(ENV)  ## corpus, training, quantization, bounds, notebooks, and the book in _build/html
	$(GENGAP) book --cores $(CORES)
	@echo "The book is ready: open $$PWD/_build/html/index.html"

pdf: book  ## the whole book as one file, _build/book.pdf (printed by Chromium: Debian: apt-get install chromium)
	$(GENGAP) site pdf

sweep: $(ENV)  ## records and pages for MODELS="pythia-70m ladder-300k" [REVISIONS="step1000 step4000"] [BITS="3 4"] [METHODS="gptq rtn"] [ARGS="--n-windows 500 -- --executor slurm --jobs 20"]
	$(GENGAP) sweep $(MODELS) $(REVISIONS:%=--revision %) $(BITS:%=--bits %) $(METHODS:%=--method %) --cores $(CORES) $(ARGS)

ladder: $(ENV)  ## every training of the plan, cheapest first, each with its record (days; resumable; ARGS="--group grid --max-flops 1e12")
	$(GENGAP) corpus
	$(GENGAP) corpus dictionary
	$(GENGAP) ladder $(ARGS)

report: $(ENV)  ## build/report.html: every record side by side, or RECORDS="build/results/pythia/70m/*.json"
	$(GENGAP) report $(RECORDS)

test: $(ENV)  ## the test suite, as many tests at a time as there are cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(CORES)

test-runs: $(ENV)  ## whole runs, kills included: half an hour
	$(BIN)/python -m pytest -m slow

test-cluster: $(ENV)  ## a sweep on a real Slurm of one node (as root; Debian: apt-get install slurm-wlm munge)
	$(BIN)/python -m pytest -m cluster

lint: $(ENV)  ## style, the layers of the library, every notebook in step with its pair, the workflow
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo --no-cache
	$(GENGAP) sync --check
	$(BIN)/python -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/python -m check_jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --quiet --offline .github/workflows

sync: $(ENV)  ## write the .ipynb pair of every .py notebook
	$(GENGAP) sync

lock: $(ENV) $(TOOLS)/.installed  ## renew requirements.lock, cpu.lock and cuda.lock, with hashes, from the environment (of Python 3.11)
	$(BIN)/python .ci/lock $(TOOLS)/bin/uv

audit: $(TOOLS)/.installed  ## known vulnerabilities of what is installed (asks the network)
	$(TOOLS)/bin/pip-audit --require-hashes --disable-pip --no-deps --requirement requirements.lock --requirement cuda.lock

$(TOOLS)/.installed: Makefile
	test -x $(TOOLS)/bin/python || "$$PYTHON" -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv==0.13.9 pip-audit==2.10.1
	touch $@

clean:  ## remove what was computed here (the environment and downloaded wheels stay)
	rm -rf _build build/site build/notebooks build/results build/code .snakemake
