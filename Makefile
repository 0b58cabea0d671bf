# `make` alone explains itself. Every target does its own set-up, from a bare machine with Python 3.11 to 3.13.
.DEFAULT_GOAL := help
.PHONY: help setup demo up test check fmt gen bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WEIGHTS := $(VENV)/.weights

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-7s\033[0m %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "no virtual environment: on Debian, apt-get install python3-venv libpython3.11"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing the mesh and its tools into $(VENV) (about a minute) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(WEIGHTS): $(STAMP) $(shell find services/models model_repository -type f -not -path '*/__pycache__/*' 2>/dev/null)
	@$(BIN)/python -m services.models.build
	@touch $@

setup: $(WEIGHTS) ## Install everything: environment, dependencies, weights, Triton

demo: setup ## Make a picture from words, through the whole mesh, from nothing running
	@$(BIN)/vmesh generate "a smiling cat" --seed 7 --output demo.png

up: setup ## Run the whole mesh on this machine until Ctrl-C
	@$(BIN)/vmesh up

test: setup ## Run every test, against the real Triton
	@$(BIN)/python tools/install_test_extras.py
	@$(BIN)/python -m pytest

check: $(STAMP) ## Format, lint, types, imports, protos, stubs, pins, manifests
	@$(BIN)/python tools/check.py

fmt: $(STAMP) ## Format code and protos
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/buf format --write protos

gen: $(STAMP) ## Generate the stubs from the protos
	@$(BIN)/python tools/generate_stubs.py

bench: setup ## Measure the mesh beside direct Triton
	@$(BIN)/vmesh bench

clean: ## Remove the environment; weights and pictures stay
	@rm -rf $(VENV)
