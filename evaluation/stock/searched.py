"""A BSA model with its index as mteb searches with it, so that searched results can be measured and published."""

from __future__ import annotations

from typing import Any

import numpy as np
from mteb._create_dataloaders import create_dataloader
from mteb.models import ModelMeta
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError, Index


class IndexSearch:
    """An mteb ``SearchProtocol``: documents go into a :class:`bsa_st.Index`, queries are asked of it.

    Args:
        model: The BSA model, with its head (:func:`bsa_st.load`).
        meta: The model's entry in mteb's list (:func:`evaluation.stock.leaderboard.bsa_meta`).
        **options: What :meth:`bsa_st.Index.search` takes beside queries, ``top_k`` and ``filter``, e.g. ``probes``.
    """

    def __init__(self, model: SentenceTransformer, meta: ModelMeta, **options: Any) -> None:
        self.model, self.mteb_model_meta, self._options = model, meta, options
        self._index: Index | None = None
        self._names: list[str] = []

    def index(self, corpus: Any, *, task_metadata: Any, encode_kwargs: Any, num_proc: int | None = None, **_: Any) -> None:
        """Build an index of a corpus; titles and texts are joined as mteb joins them for every encoder."""
        texts = _texts(corpus, PromptType.document, task_metadata, num_proc)
        self._names = list(corpus["id"])
        self._index = Index.build(self.model, texts, batch_size=encode_kwargs.get("batch_size", 32))

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        top_k: int,
        top_ranked: dict[str, list[str]] | None = None,
        num_proc: int | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """The best ``top_k`` documents of each query and their scores; of ``top_ranked`` ones, where a task says so.

        Raises:
            BSAError: If nothing has been indexed.
        """
        if self._index is None:
            raise BSAError("index a corpus first")
        texts, names = _texts(queries, PromptType.query, task_metadata, num_proc), list(queries["id"])
        if top_ranked is None:
            rankings = self._index.search(texts, top_k, **self._options)
        else:
            places = {name: place for place, name in enumerate(self._names)}
            allowed = [np.array([places[document] for document in top_ranked.get(name, [])], np.int64) for name in names]
            rankings = [
                self._index.search(text, top_k, filter=ids, **self._options)[0]
                for text, ids in zip(texts, allowed, strict=True)
            ]
        return {
            name: dict(zip((self._names[place] for place in one.ids), one.scores.tolist(), strict=True))
            for name, one in zip(names, rankings, strict=True)
        }


def _texts(dataset: Any, kind: PromptType, metadata: Any, processes: int | None) -> list[str]:
    batches = create_dataloader(dataset, task_metadata=metadata, prompt_type=kind, num_proc=processes)
    return [text for batch in batches for text in batch["text"]]
