"""Names that a corpus offers: its words and pairs of words, the most frequent first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from bsa_st.concepts.dictionary import unit
from bsa_st.errors import BSAError

LEAST_TEXTS = 5
MOST_SHARE = 0.05  # a word in more texts than that tells little about any of them
INSIDE = 0.7  # a word that stands in one pair so often is part of that name, as "york" of "new york"
LEAST_AUC = 0.85  # a word is a name where its embedding ranks texts that hold it above others at least so well
RANKED_TEXTS = 10_000
BLOCK = 256


class Vocabulary:
    """Words and pairs of words of texts, at most so many ``names``, those in the most texts first, with the texts that hold them; raises
    :class:`BSAError` if no word is in at least five texts (or in two, where there are fewer than 50)."""

    def __init__(self, texts: Sequence[str], most: int) -> None:
        least = min(LEAST_TEXTS, max(2, len(texts) // 10))
        vectorizer = CountVectorizer(
            binary=True,
            ngram_range=(1, 2),
            min_df=least,
            max_df=max(MOST_SHARE, least / len(texts)),
            stop_words="english",
            token_pattern=r"(?u)\b[^\W\d_][\w'-]*[^\W_]\b",
            dtype=np.float32,
        )
        try:
            present = sparse.csc_matrix(vectorizer.fit_transform(texts))
        except ValueError as error:  # sklearn's way to say that nothing is left
            few = f"no word stands in at least {least} of the {len(texts)} texts"
            raise BSAError(f"{few}: give names, or more texts") from error
        names = vectorizer.get_feature_names_out()
        counts = np.diff(present.indptr)
        within = dict(zip(names.tolist(), counts.tolist(), strict=True))
        pairs = [(name.split(), count) for name, count in within.items() if " " in name]
        left_out = {word for pair, count in pairs for word in pair if count >= INSIDE * within.get(word, np.inf)}
        left_out |= {f"{one} {other}" for (one, other), _ in pairs if one == other}
        left_out |= {name for name in within if "'" in name}  # "don't", "company's"
        order = [place for place in np.argsort(-counts, kind="stable").tolist() if names[place] not in left_out][:most]
        self.names: list[str] = names[order].tolist()
        self._present = present[:, order]

    def auc(self, embeddings: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """How well each name's embedding, of float (m, d), tells the texts that hold it from all texts (area under the ROC curve), float (m,); the first
        10,000 of the texts' embeddings, float (n, d), are ranked."""
        rows = unit(texts[:RANKED_TEXTS])
        rows = rows - rows.mean(axis=0)
        present = self._present[: len(rows)].tocsc()
        atoms = unit(embeddings)
        found = np.ones(len(self.names))
        for start in range(0, len(atoms), BLOCK):
            scores = atoms[start : start + BLOCK] @ rows.T
            ordered = np.sort(scores, axis=1)
            for at in range(len(scores)):
                holds = present.indices[present.indptr[start + at] : present.indptr[start + at + 1]]
                if len(holds):
                    found[start + at] = np.searchsorted(ordered[at], scores[at, holds]).mean() / len(rows)
        return found
