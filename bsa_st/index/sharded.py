"""One collection in several indexes: each is searched, and their hits are merged to those of a single index.

A score of two texts does not depend on other texts, so the best of a collection are among the best of its shards. Only IDF weights need the whole: shards
report in how many documents each feature fires (:meth:`bsa_st.Index.document_frequency`), and search with the weights of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Hits, idf_weights
from bsa_st.errors import BSAError
from bsa_st.index.index import Index
from bsa_st.index.models import encode_queries
from bsa_st.index.ranking import no_hits
from bsa_st.index.search import Scoring

QUERIES = 64


class ShardedIndex:
    """Several indexes searched as one; here they are in one process, elsewhere each has a machine, and :func:`merge_hits` joins what they find.

    Exact scorings give what one index of all documents gives. ``two-stage`` and ``decoded`` choose ``candidates`` in each shard, so they score more documents
    in all than one index would.

    Args:
        shards: Indexes of codes of one model, with distinct ids.

    Raises:
        BSAError: If there is no shard, or they differ in features or decoder, or share an id.
    """

    def __init__(self, shards: Sequence[Index]) -> None:
        if not shards:
            raise BSAError("a sharded index needs at least one shard")
        for number, shard in enumerate(shards):
            if shard.hidden_dim != shards[0].hidden_dim:
                raise BSAError(f"shard 0 has {shards[0].hidden_dim} features, shard {number} has {shard.hidden_dim}")
            if not _same_decoder(shard, shards[0]):
                raise BSAError(f"shards 0 and {number} have different decoders: they are of different models")
        names, counts = np.unique(np.concatenate([shard.ids for shard in shards]), return_counts=True)
        if (counts > 1).any():
            raise BSAError(f"id {names[counts > 1][0]} is in more than one shard")
        self.shards = list(shards)

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def idf(self) -> np.ndarray:
        """Weights of the features in ``idf`` scores, from the document frequencies of all shards: float32 (D,)."""
        return idf_weights(len(self), np.sum([shard.document_frequency() for shard in self.shards], axis=0))

    def search(
        self,
        queries: BinaryCodes | npt.ArrayLike | str | Sequence[str],
        top_k: int = 10,
        *,
        scoring: Scoring | None = None,
        break_ties: bool = True,
        prompt_name: str | None = None,
        **options: Any,
    ) -> Hits:
        """Best documents of each query among all shards; arguments, hits and errors as in :meth:`bsa_st.Index.search`, with ids as ``filter``."""
        first = self.shards[0]
        if scoring is not None and scoring not in get_args(Scoring):
            raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
        if np.asarray(options.get("filter", 0)).dtype == bool:
            raise BSAError("a sharded index takes ids as filter, not a mask")
        kind, prepared = encode_queries(queries, scoring, first.model, first.decoder, first.hidden_dim, prompt_name)
        how = "two-stage" if kind == "decoded" else kind
        if kind == "idf":
            options["idf"] = self.idf()
        found = [shard.search(prepared, top_k, scoring=how, break_ties=break_ties, **options) for shard in self.shards]  # type: ignore[arg-type]
        second = None
        if break_ties and isinstance(prepared, BinaryCodes) and first.decoder is not None:
            second = [_decoded(shard, prepared, hits) for shard, hits in zip(self.shards, found, strict=True)]
        return merge_hits(found, top_k, second)


def merge_hits(shards: Sequence[Hits], top_k: int, second: Sequence[np.ndarray] | None = None) -> Hits:
    """The best of several shards' hits for the same queries.

    Args:
        shards: One per shard, (queries, any number) each; missing hits have the id -1.
        top_k: Hits per query.
        second: For each shard the scores by which equal ones are ordered, of the shape of its hits; default none.

    Returns:
        ids and scores, (queries, top_k), best first; equal ones by second score, then by id.
    """
    ids = np.concatenate([hits.ids for hits in shards], axis=1)
    scores = np.concatenate([hits.scores for hits in shards], axis=1)
    ties = np.zeros_like(scores) if second is None else np.concatenate(second, axis=1)
    order = np.lexsort((ids, -ties, -scores, ids < 0), axis=1)[:, :top_k]
    merged = no_hits(len(ids), top_k)
    merged.ids[:, : order.shape[1]] = np.take_along_axis(ids, order, axis=1)
    merged.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    return merged


def _decoded(shard: Index, queries: BinaryCodes, hits: Hits) -> np.ndarray:
    """Decoded scores of a shard's hits: float32, the shape of the hits. A few queries at a time: their hits are scored for all of them."""
    starts = range(0, len(queries), QUERIES)
    parts = [
        _decoded_some(shard, queries[at : at + QUERIES], Hits(*(part[at : at + QUERIES] for part in hits))) for at in starts
    ]
    return np.concatenate(parts) if parts else np.zeros(hits.ids.shape, np.float32)


def _decoded_some(shard: Index, queries: BinaryCodes, hits: Hits) -> np.ndarray:
    wanted = np.unique(hits.ids[hits.ids >= 0])
    scores = np.full(hits.ids.shape, -np.inf, np.float32)
    if len(wanted) == 0:
        return scores
    every = shard.search(queries, len(wanted), scoring="decoded", filter=wanted, candidates=len(wanted))
    order = np.argsort(every.ids, axis=1)
    for row, (names, line) in enumerate(zip(hits.ids, order, strict=True)):
        there = names >= 0
        places = line[np.searchsorted(every.ids[row][line], names[there])]
        scores[row, there] = every.scores[row][places]
    return scores


def _same_decoder(left: Index, right: Index) -> bool:
    if left.decoder is None or right.decoder is None:
        return left.decoder is right.decoder
    return all(np.array_equal(one, other) for one, other in zip(left.decoder, right.decoder, strict=True))
