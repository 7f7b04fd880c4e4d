# Every target sets up what it needs; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eo pipefail -c
PYTHON ?= python3.11
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
ENV := .venv/.installed
SNAKE = $(BIN)/snakemake --quiet rules host progress --rerun-triggers mtime params input --rerun-incomplete --cores $(CORES)

.PHONY: help book test lint sync sweep lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | expand -t 10

$(ENV): requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "error: $(PYTHON) is not installed: install Python 3.11, or name yours with 'make PYTHON=...'"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

book: $(ENV)  ## corpus, training, quantization, bounds, notebooks, and the book in _build/html
	@$(BIN)/snakemake --unlock --quiet all > /dev/null 2>&1 || true
	$(SNAKE) book
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html"

sweep: $(ENV)  ## bound records for MODELS="ladder-50k ladder-400k"
	@$(BIN)/snakemake --unlock --quiet all > /dev/null 2>&1 || true
	$(SNAKE) --keep-going --config models="$(MODELS)" -- sweep

test: $(ENV)  ## the test suite
	$(BIN)/python -m pytest

lint: $(ENV)  ## ruff, and every notebook in step with its pair
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/gengap sync --check

sync: $(ENV)  ## write the .ipynb pair of every .py notebook
	$(BIN)/gengap sync

lock: $(ENV)  ## renew requirements.lock from the environment
	{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable | sed 's|+cpu$$||'; $(BIN)/python -m pip freeze --all | grep '^setuptools=='; } > .venv/lock
	mv .venv/lock requirements.lock

clean:  ## remove what was computed here (the environment and downloaded wheels stay)
	rm -rf _build build/site build/notebooks build/results build/code .snakemake
