# Two commands: `make demo` shows the product, `make test` proves it. Each makes its own environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: setup demo evaluate test lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/bsa-st demo build/demo-model --json build/demo.json

# Needs DATA, a folder of tasks; continues an interrupted run.
evaluate: $(STAMP)
	$(BIN)/python -m evaluation --data $(DATA)
	$(BIN)/python -m evaluation.cards

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

clean:
	rm -rf build $(VENV)
