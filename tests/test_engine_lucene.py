"""Lucene itself, the library inside Elasticsearch and OpenSearch, scoring with the mappings that the engines are given.

Its jars come from Debian's ``liblucene8-java`` (``.ci/lucene``), or from the folder that ``BSA_ST_LUCENE_JARS`` names; Java has to be there too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bsa_st import BinaryCodes
from bsa_st.codes.scoring import idf, scores, top_k
from bsa_st.engines import lucene
from bsa_st.engines.documents import Documents
from bsa_st.engines.queries import SparseQuery, sparse_queries
from tests.engine_server import EngineSample

SOURCE = Path(__file__).parent / "LuceneScores.java"
TOP = 50


def jars() -> list[str]:
    folder = Path(os.environ.get("BSA_ST_LUCENE_JARS", "/usr/share/java"))
    found = [sorted(folder.glob(f"lucene-{part}-[0-9]*.jar")) for part in ("core", "analyzers-common", "analysis-common")]
    return [str(paths[-1]) for paths in found if paths]


def searched(codes: BinaryCodes, queries: list[SparseQuery], tmp_path: Path) -> dict[str, list[list[tuple[int, float]]]]:
    """Hits of each query by both mappings, as Lucene gives them to what :mod:`bsa_st.engines.lucene` sends."""
    if shutil.which("java") is None or len(jars()) < 2:
        pytest.skip("Lucene cannot be run: Java or its jars (liblucene8-java) are missing")
    documents = Documents(list(range(len(codes))), codes, None, [{}] * len(codes), "")
    lines = [f"{len(codes)} {len(queries)} {TOP}"]
    lines += [lucene.document(documents, row, "elasticsearch")["code"] for row in range(len(codes))]
    for query in queries:
        clauses = lucene.weighted(query, "elasticsearch")["bool"]["should"]
        boosts = {clause["term"]["code"]["value"]: clause["term"]["code"]["boost"] for clause in clauses}
        assert boosts == lucene.weighted(query, "opensearch")["neural_sparse"]["code"]["query_tokens"]
        lines.append(" ".join(f"{feature}:{weight!r}" for feature, weight in boosts.items()))
    command = ["java", "-Xmx256m", "-cp", os.pathsep.join(jars()), str(SOURCE)]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    hits = [[(int(a), float(b)) for a, b in (word.split(":") for word in line.split())] for line in done.stdout.splitlines()]
    return {"elasticsearch": hits[0::2], "opensearch": hits[1::2]}


def test_lucene_scores_both_mappings_as_the_index_does(engine_sample: EngineSample, tmp_path: Path) -> None:
    codes, plain = engine_sample.codes, engine_sample.queries
    weights = idf(codes)
    queries = [*sparse_queries(plain, 1024), *sparse_queries(plain, 1024, "idf", weights)]
    every = np.concatenate([scores(plain, codes), scores(plain, codes, weights=weights)])
    truth = top_k(every, TOP).scores
    for found in searched(codes, queries, tmp_path).values():
        for row, hits in enumerate(found):
            tolerance = 0.0 if row < len(plain) else 1e-4
            np.testing.assert_allclose([score for _, score in hits], truth[row], rtol=0, atol=tolerance)
            np.testing.assert_allclose([every[row, name] for name, _ in hits], truth[row], rtol=0, atol=tolerance)
