"""Search with filters and counts by name: which findings go with a query, and what is left without some of them.

    python examples/named_search.py MODEL TEXTS "a query" [--with NAME ...] [--without NAME ...]

MODEL is a folder with names, TEXTS a file with one text per line. With phenotypes as texts and their ontology's names
(``bsa-st names MODEL TEXTS --names NAMES``): ``"developmental delay" --with Seizure --without "Febrile seizure"``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bsa_st
from bsa_st.inputs.texts import read_texts


def main(model: str, file: str, query: str, with_tags: list[str], without_tags: list[str]) -> None:
    """Print the ten best documents that pass the filter, the names of each, and how many of the hits have each name."""
    loaded = bsa_st.load(model)
    texts = read_texts(Path(file))
    index = bsa_st.Index.build(loaded, texts, tags=bsa_st.tags(loaded, texts))
    (hits,) = index.search([query], with_tags=with_tags, without_tags=without_tags)
    for row, score in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True):
        sys.stdout.write(f"{score:.3f}  {texts[row]}  [{', '.join(name for name, _ in index.facets([row]))}]\n")
    sys.stdout.write(f"names of the hits: {', '.join(f'{name} {count}' for name, count in index.facets(hits.ids))}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("query")
    parser.add_argument("--with", dest="with_tags", action="append", default=[])
    parser.add_argument("--without", dest="without_tags", action="append", default=[])
    main(**vars(parser.parse_args()))
