"""Which features belong together: co-firing neighbours, a hierarchy of families and groups, and a map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from bsa_st.codes import BinaryCodes
from bsa_st.explain.atlas import Neighbour, Term

MAX_CLUSTERED = 8192
"""The hierarchy needs all distances between the features in it; a rarer feature joins the family nearest in the decoder."""
PAIR_BUDGET = 300_000_000
"""Pairs of features counted for co-activation; codes beyond that are not needed to tell neighbours."""
LEAST_TOGETHER = 3
MAP_DIMENSIONS = 32
SEED = 0


class Hierarchy(NamedTuple):
    """Family of each feature, int (D,), and group of each family, int (families,)."""

    family: np.ndarray
    group: np.ndarray


def coactivation(codes: BinaryCodes) -> tuple[sparse.csr_matrix, np.ndarray]:
    """How many texts fire each two features, CSR (D, D), and each alone, (D,), from as many texts as the pair budget allows."""
    pairs = np.cumsum(codes.counts.astype(np.int64) ** 2)
    rows = max(1, int(np.searchsorted(pairs, PAIR_BUDGET, side="right")))
    fires = codes[np.linspace(0, len(codes) - 1, min(rows, len(codes))).astype(int)].to_scipy()
    together = sparse.csr_matrix(fires.T @ fires)
    alone = together.diagonal()
    together.setdiag(0)
    together.eliminate_zeros()
    return together, alone


def neighbours(together: sparse.csr_matrix, alone: np.ndarray, count: int) -> list[list[Neighbour]]:
    """Features that share most texts with each, by cosine, best first."""
    norms = np.sqrt(np.maximum(alone, 1))
    found = []
    for feature in range(together.shape[0]):
        part = slice(together.indptr[feature], together.indptr[feature + 1])
        ids, shared = together.indices[part], together.data[part]
        cosine = np.where(shared >= LEAST_TOGETHER, shared / (norms[feature] * norms[ids]), -1)
        order = np.argsort(-cosine, kind="stable")[:count]
        found.append([Neighbour(int(ids[at]), int(shared[at]), round(float(cosine[at]), 4)) for at in order if cosine[at] > 0])
    return found


def similarity(together: sparse.csr_matrix, alone: np.ndarray, decoder: np.ndarray) -> np.ndarray:
    """Mean of two cosines, float32 (m, m): of the texts that two features fire on, and of their decoder directions.

    A feature that never fired has no co-activation; the decoder alone places it.
    """
    scale = 1 / np.sqrt(np.maximum(alone, 1))
    fired = (sparse.diags_array(scale) @ together @ sparse.diags_array(scale)).toarray().astype(np.float32)
    np.fill_diagonal(fired, 1)
    rows = decoder / np.maximum(np.linalg.norm(decoder, axis=1, keepdims=True), 1e-12)
    directions = rows @ rows.T
    silent = alone == 0
    fired[silent] = directions[silent]
    fired[:, silent] = directions[:, silent]
    return (fired + directions) / 2


def families(together: sparse.csr_matrix, alone: np.ndarray, decoder: np.ndarray) -> Hierarchy:
    """Ward's hierarchy of the features, cut twice: about D / 16 families within about the square root of as many groups.

    Args:
        together: Co-activation counts, CSR (D, D).
        alone: Firing counts, (D,).
        decoder: V, float32 (D, d).

    Source: J. H. Ward, "Hierarchical grouping to optimize an objective function" (1963), on the distances ``sqrt(2 - 2 s)``, which are Euclidean
    as ``s`` is a mean of two cosines.
    """
    hidden_dim = len(decoder)
    if hidden_dim == 1:
        return Hierarchy(np.zeros(1, dtype=int), np.zeros(1, dtype=int))
    clustered = np.sort(np.argsort(-alone, kind="stable")[:MAX_CLUSTERED])
    alike = similarity(together[clustered][:, clustered], alone[clustered], decoder[clustered])
    distances = np.sqrt(np.maximum(2 - 2 * alike, 0))
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "ward")
    wanted = max(2, min(256, round(hidden_dim / 16)))
    fine = fcluster(tree, wanted, "maxclust") - 1
    coarse = fcluster(tree, max(2, min(12, round(wanted**0.5))), "maxclust") - 1
    group = np.zeros(fine.max() + 1, dtype=int)
    group[fine] = coarse
    family = np.zeros(hidden_dim, dtype=int)
    family[clustered] = fine
    others = np.setdiff1d(np.arange(hidden_dim), clustered)
    for start in range(0, len(others), MAX_CLUSTERED):
        part = others[start : start + MAX_CLUSTERED]
        family[part] = fine[np.argmax(decoder[part] @ decoder[clustered].T, axis=1)]
    return Hierarchy(family, group)


def name_clusters(terms: Sequence[Sequence[Term]], member_of: np.ndarray, clusters: int, words: int = 3) -> list[str]:
    """Names from the terms that stand highest in most members' lists, each cluster's terms weighed against all others'."""
    inside: list[dict[str, float]] = [defaultdict(float) for _ in range(clusters)]
    overall: dict[str, float] = defaultdict(float)
    for own, cluster in zip(terms, member_of.tolist(), strict=True):
        for place, term in enumerate(own):
            inside[cluster][term.term] += 1 / (place + 2)
            overall[term.term] += 1 / (place + 2)
    names = []
    for weights in inside:
        ranked = sorted(weights, key=lambda term: (-weights[term] * (weights[term] / overall[term]) ** 0.5, term))
        chosen: list[str] = []
        for name in ranked:
            if len(chosen) < words and not any(name in old or old in name for old in chosen):
                chosen.append(name)
        names.append(" · ".join(chosen))
    return names


def feature_map(together: sparse.csr_matrix, alone: np.ndarray, decoder: np.ndarray) -> np.ndarray:
    """Features on a plane, near where they are alike as in :func:`families`: float32 (D, 2) in [0, 1].

    Beyond 8,192 features only the decoder directions count.

    Source: L. van der Maaten and G. Hinton, "Visualizing data using t-SNE" (2008), on the principal components of the similarities.
    """
    count = len(decoder)
    if count < 10:
        places = np.stack([np.arange(count), np.zeros(count)], axis=1)
    else:
        rows = similarity(together, alone, decoder) if count <= MAX_CLUSTERED else decoder
        reduced = PCA(min(MAP_DIMENSIONS, *rows.shape), svd_solver="randomized", random_state=SEED).fit_transform(rows)
        tsne = TSNE(
            metric="cosine", perplexity=min(30, (count - 1) / 3), max_iter=500, init="pca", random_state=SEED, n_jobs=-1
        )
        places = tsne.fit_transform(reduced)
    places = places - places.min(axis=0)
    return (places / np.maximum(places.max(axis=0), 1e-12)).astype(np.float32)
