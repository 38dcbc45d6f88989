"""Binary sparse codes: every configuration that is compared, and how each is trained, encoded and scored."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from bsa_st import BinaryCodes, BSAError, DistillSettings, encode_embeddings
from bsa_st.codes.scoring import asymmetric_scores, decode, idf, inverse_norms, scores
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.nested import truncate_head
from bsa_st.training import train_head
from bsa_st.training.monitor import code_statistics
from evaluation.paper.methods.base import Encoded, Method, rescore, sample_rows

PROBE_FEATURES = 128
PROBE_CANDIDATES = 100
DECODING = ("asymmetric", "two-stage", "decoded")
"""Scorings that decode the documents."""


@dataclass(frozen=True)
class Variant:
    """One configuration.

    Attributes:
        settings: How the head is trained.
        encode_options: Further keyword arguments of :func:`bsa_st.encode_embeddings` for documents, e.g. refinement; queries are coded
            without them, since refined queries agree less with documents in single features.
        label: Ending of the name that tells variants of the same sizes apart.
        budget: The (hidden_dim, k) that the trained head is cut to; default as it was trained.
    """

    settings: DistillSettings
    encode_options: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    budget: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """E.g. ``bsa-topk-4096-64``."""
        ending = f"-{self.label}" if self.label else ""
        hidden_dim, k = self.budget or (self.settings.hidden_dim, self.settings.k)
        return f"bsa-{self.settings.selection}-{hidden_dim}-{k}{ending}"


class BSA(Method):
    """A head of :func:`bsa_st.training.train_head`; documents of ``asymmetric`` and ``two-stage`` carry the byte that saves decoding them.

    ``whole_head`` is the head before it is cut to the variant's budget; where it is set before :meth:`fit`, nothing is trained.
    """

    family = "bsa"

    def __init__(self, variant: Variant) -> None:
        more: tuple[str, ...] = ("cosine",) if variant.settings.selection == "threshold" else ()
        more += ("decoded",) if variant.encode_options else ()
        super().__init__(variant.name, ("symmetric", *more, "idf", "asymmetric", "two-stage"))
        self.variant = variant
        self.whole_head: BinarySparsityAlignment | None = None
        self._check_options()

    def settings(self) -> dict[str, Any]:
        return asdict(self.variant)

    def _check_options(self) -> None:
        """An option that this version of bsa_st does not know stops the run before any long work."""
        known = inspect.signature(encode_embeddings).parameters
        unknown = [name for name in self.variant.encode_options if name not in known]
        if unknown:
            raise BSAError(f"{self.name}: bsa_st.encode_embeddings has no option {', '.join(unknown)}")

    def fit(self, training: np.ndarray) -> None:
        if self.whole_head is None:
            self.whole_head = train_head(training, self.variant.settings, show_progress_bar=False)
        self.head = truncate_head(self.whole_head, *(self.variant.budget or ()))
        self.decoder = self.head.decoder_weight.detach().numpy()
        self.offset = self.head.decoder_bias.detach().numpy()
        sample = sample_rows(training, 20_000)
        codes = self.encode(sample)
        self.training_idf = idf(codes)
        self.shared_bytes = 4 * sum(tensor.numel() for tensor in self.head.state_dict().values())
        rates = np.sort(np.bincount(codes.ids, minlength=codes.hidden_dim) / len(codes))[::-1]
        self.figures = {
            "settings": self.variant.settings.to_dict(),
            "active_features": np.bincount(codes.counts).tolist(),
            "firing_rates": [
                round(float(rate), 5) for rate in rates[np.unique(np.geomspace(1, len(rates), 200).astype(int) - 1)]
            ],
            "firing_ranks": np.unique(np.geomspace(1, len(rates), 200).astype(int)).tolist(),
            **{name: round(float(value), 4) for name, value in code_statistics(self.head, sample).items()},
        }

    def encode(self, dense: np.ndarray) -> BinaryCodes:
        return encode_embeddings(self.head, dense, **{"refine": False, **self.variant.encode_options})

    def stored_bytes(self, documents: Encoded, scoring: str) -> float:
        codes: BinaryCodes = documents.codes
        return codes.nbytes / len(codes)

    def query_codes(self, queries: Encoded) -> BinaryCodes:
        """Codes of texts in the role of queries."""
        return encode_embeddings(self.head, queries.dense, refine=False) if self.variant.encode_options else queries.codes

    def scores(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray:
        if scoring == "symmetric":
            return scores(self.query_codes(queries), documents.codes)
        if scoring == "cosine":
            return scores(self.query_codes(queries), documents.codes, "cosine")
        if scoring == "idf":
            return scores(self.query_codes(queries), documents.codes, weights=idf(documents.codes))
        if scoring == "decoded":
            return asymmetric_scores(self._decoded(queries.codes), documents.codes, self.decoder, self.offset)
        fine = asymmetric_scores(queries.dense, documents.codes, self.decoder, self.offset)
        return rescore(self._probe(queries.dense, documents.codes), fine, PROBE_CANDIDATES) if scoring == "two-stage" else fine

    def tie_break(self, queries: Encoded, documents: Encoded, scoring: str) -> np.ndarray | None:
        """The decoder's opinion: the cosine of both decoded codes, small beside the step between two overlaps."""
        step = {"symmetric": 0.4, "cosine": 1e-4, "idf": 1e-3}.get(scoring)
        return None if step is None else step * (self._decoded(self.query_codes(queries)) @ self._decoded(documents.codes).T)

    def vectors(self, texts: Encoded, scoring: str, *, query: bool) -> np.ndarray:
        codes: BinaryCodes = texts.codes
        if scoring in DECODING:
            if query:
                return self._decoded(codes) if scoring == "decoded" else texts.dense
            return decode(codes, self.decoder, self.offset) * inverse_norms(codes, self.decoder, self.offset)[:, None]
        codes = self.query_codes(texts) if query else codes
        dense = codes.to_dense()
        if scoring == "idf":
            return dense * np.sqrt(self.training_idf)  # a pair has no collection of its own to count in
        if scoring == "cosine":
            return dense / np.sqrt(np.maximum(codes.counts, 1))[:, None].astype(np.float32)
        return dense

    def _decoded(self, codes: BinaryCodes) -> np.ndarray:
        decoded = codes.to_scipy() @ self.decoder + self.offset
        return np.asarray(decoded / np.maximum(np.linalg.norm(decoded, axis=1, keepdims=True), 1e-12), dtype=np.float32)

    def _probe(self, dense: np.ndarray, documents: BinaryCodes) -> np.ndarray:
        """First stage over an inverted index: only the query's largest weights ``V q`` are looked up."""
        weights = dense @ self.decoder.T
        kept = min(PROBE_FEATURES, weights.shape[1])
        ids = np.argpartition(-weights, kept - 1, axis=1)[:, :kept]
        values = np.take_along_axis(weights, ids, axis=1).ravel()
        shape = (len(dense), weights.shape[1])
        queries = sparse.csr_matrix((values, ids.ravel(), np.arange(0, values.size + 1, kept)), shape=shape)
        return np.asarray((queries @ documents.to_scipy().T).toarray(), dtype=np.float32)
