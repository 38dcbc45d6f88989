"""What a page shows about named features: their texts, their relatives, a map, and some matches explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from bsa_st.concepts.dictionary import NamedDictionary, unit
from bsa_st.concepts.explain import Explanation, explain_vectors
from bsa_st.errors import BSAError

SHOWN = 5
PAIRS, PAIR_TEXTS = 300, 3_000
SAME_TEXT = 0.98  # texts at least so alike make a dull pair
LEAST_TOGETHER = 3
RELATIVES = 6
MAX_MAPPED = 8_192
SEED = 0


def build_atlas(dictionary: NamedDictionary, texts: Sequence[str], embeddings: np.ndarray) -> dict[str, Any]:
    """The content of a page, from a sample of texts and their dense embeddings, float (n, d), all in memory.

    Plain JSON values: ``texts`` their number, ``active`` the numbers of texts with 0, 1, 2... names, ``families`` of features with their names and
    groups, ``groups`` their names, ``pairs`` matching texts, explained, ``strings`` the texts, which the others name by their places, and for each of the
    ``features`` ``name``, ``aliases``, ``count`` of texts, ``strongest`` and ``random`` ones of them with strengths, features ``together``
    with it and ``close`` to its name, with cosines, its ``family`` and its ``place`` on the map, in [0, 1].
    """
    if not len(texts) or len(texts) != len(embeddings):
        raise BSAError(f"there are {len(embeddings)} embeddings for {len(texts)} texts")
    found = list(dictionary.fires(embeddings))
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids, _ in found])])
    ids = np.concatenate([ids for ids, _ in found])
    strengths = np.concatenate([values for _, values in found]).astype(np.float32)
    columns = sparse.csr_matrix((strengths, ids, starts), shape=(len(texts), len(dictionary))).tocsc()
    together, close = _together(columns), _close(dictionary.atoms)
    family, families, groups = _families(dictionary)
    places = _places(dictionary.atoms)
    random = np.random.default_rng(SEED)
    strings: dict[str, int] = {}
    numbers = {name: number for number, name in enumerate(dictionary.names)}

    def place(text: str) -> int:
        return strings.setdefault(text, len(strings))

    def feature(number: int) -> dict[str, Any]:
        part = slice(columns.indptr[number], columns.indptr[number + 1])
        rows, values = columns.indices[part], columns.data[part]

        def quoted(order: np.ndarray) -> list[tuple[int, float]]:
            distinct: dict[str, int] = {}
            for at in order.tolist():
                distinct.setdefault(texts[rows[at]].casefold(), at)
                if len(distinct) == SHOWN:
                    break
            return [(place(texts[rows[at]]), round(float(values[at]), 3)) for at in distinct.values()]

        return {
            "name": dictionary.names[number],
            "aliases": dictionary.aliases[number],
            "count": len(rows),
            "strongest": quoted(np.argsort(-values, kind="stable")),
            "random": quoted(random.permutation(len(rows))),
            "together": together[number],
            "close": close[number],
            "family": int(family[number]),
            "place": [round(float(side), 4) for side in places[number]],
        }

    def explained(pair: Explanation) -> dict[str, Any]:
        parts = [[numbers[part.name], round(part.value, 5), round(part.a, 3), round(part.b, 3)] for part in pair.parts]
        return {"a": place(pair.a), "b": place(pair.b), "score": round(pair.score, 5), "parts": parts}

    return {
        "texts": len(texts),
        "active": np.bincount(np.diff(starts)).tolist(),
        "groups": groups,
        "families": families,
        "features": [feature(number) for number in range(len(dictionary))],
        "pairs": [explained(pair) for pair in _pairs(dictionary, texts, embeddings)],
        "strings": list(strings),
    }


def clip(text: str, characters: int) -> str:
    """The text on one line, cut after so many characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def _together(columns: sparse.csc_matrix) -> list[list[tuple[int, float]]]:
    """Features that the same texts have, with the cosines of their columns."""
    counts = np.diff(columns.indptr)
    fires = columns.astype(bool).astype(np.float32)
    shared = sparse.csr_matrix(fires.T @ fires)
    found = []
    for number in range(shared.shape[0]):
        part = slice(shared.indptr[number], shared.indptr[number + 1])
        ids, times = shared.indices[part], shared.data[part]
        keep = (ids != number) & (times >= LEAST_TOGETHER)
        ids, cosine = ids[keep], times[keep] / np.sqrt(counts[number] * counts[ids[keep]])
        order = np.argsort(-cosine, kind="stable")[:RELATIVES]
        found.append([(int(ids[at]), round(float(cosine[at]), 3)) for at in order])
    return found


def _close(atoms: np.ndarray) -> list[list[tuple[int, float]]]:
    """Features whose names mean nearly the same to the encoder, with the cosines of their atoms."""
    found = []
    most = min(RELATIVES, len(atoms) - 1)
    for start in range(0, len(atoms), 1024):
        alike = atoms[start : start + 1024] @ atoms.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        for row in alike:
            best = np.argpartition(-row, most - 1)[:most]
            found.append([(int(at), round(float(row[at]), 3)) for at in best[np.argsort(-row[best], kind="stable")]])
    return found


def _families(dictionary: NamedDictionary) -> tuple[np.ndarray, list[tuple[str, int]], list[str]]:
    """About D / 16 families within about the square root of as many groups, each called after the names nearest to its middle.

    Source: D. Sculley, "Web-scale k-means clustering" (2010), for families; J. H. Ward, "Hierarchical grouping to optimize an objective function"
    (1963), for groups of their centres.
    """
    atoms, wanted = dictionary.atoms, max(1, min(256, len(dictionary) // 16))
    fitted = MiniBatchKMeans(wanted, random_state=SEED, n_init=3).fit(atoms)
    used, family = np.unique(fitted.labels_, return_inverse=True)
    centres = fitted.cluster_centers_[used]
    group = np.zeros(len(used), dtype=int)
    if len(used) > 1:
        group = fcluster(linkage(centres, "ward"), max(2, min(12, round(len(used) ** 0.5))), "maxclust") - 1

    def called(members: np.ndarray, words: int) -> str:
        order = members[np.argsort(-(atoms[members] @ atoms[members].mean(axis=0)), kind="stable")]
        return " · ".join(dictionary.names[number] for number in order[:words])

    names = [called(np.flatnonzero(family == number), 2) for number in range(len(used))]
    groups = [called(np.flatnonzero(group[family] == number), 3) for number in range(int(group.max()) + 1)]
    return family, list(zip(names, group.tolist(), strict=True)), groups


def _places(atoms: np.ndarray) -> np.ndarray:
    """Atoms on a plane, float (D, 2) in [0, 1], near where they are alike; beyond 8,192 by their two principal components.

    Source: L. van der Maaten and G. Hinton, "Visualizing data using t-SNE" (2008).
    """
    count = len(atoms)
    if count < 10:
        places = np.stack([np.arange(count), np.zeros(count)], axis=1)
    elif count > MAX_MAPPED:
        places = PCA(2, svd_solver="randomized", random_state=SEED).fit_transform(atoms)
    else:
        reduced = PCA(min(32, *atoms.shape), svd_solver="randomized", random_state=SEED).fit_transform(atoms)
        tsne = TSNE(metric="cosine", perplexity=min(30, (count - 1) / 3), max_iter=500, init="pca", random_state=SEED)
        places = tsne.fit_transform(reduced)
    places = places - places.min(axis=0)
    return np.asarray(places / np.maximum(places.max(axis=0), 1e-12))


def _pairs(dictionary: NamedDictionary, texts: Sequence[str], embeddings: np.ndarray) -> list[Explanation]:
    """Texts with the one nearest to each, explained: random ones, so that weak matches are among them."""
    chosen = np.random.default_rng(SEED).permutation(len(texts))[:PAIR_TEXTS]
    rows = unit(embeddings[chosen])
    found: list[Explanation] = []
    used: set[int] = set()
    for at in range(min(len(rows), 2 * PAIRS)):
        alike = rows @ rows[at]
        alike[alike > SAME_TEXT] = -1
        other = int(alike.argmax())
        if alike[other] > 0 and not {at, other} & used and len(found) < PAIRS:
            used |= {at, other}
            told = explain_vectors(dictionary, rows[at], rows[other], a=texts[chosen[at]], b=texts[chosen[other]])
            found.append(told)
    return sorted(found, key=lambda pair: -pair.score)
