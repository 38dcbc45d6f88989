# Two commands: `make demo` shows the product, `make test` proves it. Each makes its own environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: setup browser screenshots demo evaluate interpretability test lint clean

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

# Needs DATA; writes evaluation/interpretability.json, INTERPRETABILITY.md and its plot.
interpretability: $(STAMP)
	$(BIN)/python -m evaluation.interpretability --data $(DATA)

# A browser for the tests of the page. Where it cannot be installed these tests skip and say so.
browser:
	sh .ci/browser

# The pictures of the README, from the page that the demo wrote.
screenshots: $(STAMP)
	$(BIN)/python -m tests.screenshots build/demo-model/features.html docs/images

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint browser
	$(BIN)/pytest

clean:
	rm -rf build $(VENV)
