# Everything happens in a virtual environment at .venv, made from nothing where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: demo test test-all lint docs benchmarks clean

demo: $(VENV)/.installed-demo
	$(BIN)/graphloss demo --overwrite

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-all: $(VENV)/.installed-dev lint
	$(PIP) --editable ".[browser,docs,tensorboard]"
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.installed-dev
	$(PIP) --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

benchmarks: $(VENV)/.installed-dev
	$(PIP) --editable ".[benchmarks]"
	$(BIN)/python benchmarks/graph_loss.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/recipe.py
	$(BIN)/python benchmarks/batch.py --state runs/batch.json
	$(BIN)/python benchmarks/epoch.py --state runs/epoch.json
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf $(VENV)

# torch by its exact version first: asked for in any other way, pip takes a build with gigabytes of CUDA libraries.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	touch $@

$(VENV)/.installed-demo: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[offline]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[dev]"
	touch $@
