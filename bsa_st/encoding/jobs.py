"""What there is to encode: texts read as a stream and cut into shards, and how texts become codes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.encoding.encode import CHUNK_TEXTS, encode_embeddings, split_model
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.nested import truncate_head
from bsa_st.inputs.embeddings import texts_fingerprint
from bsa_st.inputs.prompts import check_prompt, document_prompt
from bsa_st.inputs.texts import Texts, stream_texts

SHARD_TEXTS = 1 << 16


class Job(NamedTuple):
    """A shard to encode: its number, its texts (none where it is finished), how many there are, and their SHA-256."""

    number: int
    texts: list[str]
    size: int
    sha256: str

    @property
    def stamp(self) -> tuple[int, int, str]:
        """Number, size and checksum: the job without its texts."""
        return self.number, self.size, self.sha256


class Encoded(NamedTuple):
    """A shard that an engine has dealt with; ``codes`` is ``None`` where it was finished before."""

    number: int
    size: int
    sha256: str
    codes: BinaryCodes | None = None


@dataclass(frozen=True)
class Source:
    """Texts and how they are cut. Shards are whole multiples of the 4,096 texts that :func:`bsa_st.encode` batches together, so that the
    codes do not depend on the cut."""

    texts: Texts
    column: str = "text"
    shard_texts: int = SHARD_TEXTS

    def __post_init__(self) -> None:
        if self.shard_texts < 1 or self.shard_texts % CHUNK_TEXTS:
            raise BSAError(f"shard_texts must be a multiple of {CHUNK_TEXTS}, got {self.shard_texts}")

    def jobs(self, finished: Collection[int] = ()) -> Iterator[Job]:
        """All shards in order; at most one is in memory here."""
        stream = stream_texts(self.texts, self.column)
        number = 0
        while texts := list(islice(stream, self.shard_texts)):
            yield Job(number, [] if number in finished else texts, len(texts), texts_fingerprint(texts))
            number += 1


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the codes of a text, beside the model; fields as in :func:`bsa_st.encode`. :meth:`for_model` chooses the prompt."""

    batch_size: int = 32
    prompt_name: str | None = None
    refine: bool = True
    hidden_dim: int | None = None
    max_active_dims: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise BSAError(f"batch_size must be at least 1, got {self.batch_size}")

    def for_model(self, model: SentenceTransformer) -> Recipe:
        """With the name of the prompt that this model has for documents, unless there is one already."""
        return replace(self, prompt_name=document_prompt(model, self.prompt_name))

    def split(self, model: SentenceTransformer) -> tuple[SentenceTransformer, BinarySparsityAlignment]:
        """The dense encoder and the head at the wanted budget."""
        encoder, head = split_model(model)
        check_prompt(encoder, self.prompt_name)
        return encoder, truncate_head(head, self.hidden_dim, self.max_active_dims)

    def dense(
        self, encoder: SentenceTransformer, texts: list[str], pool: Any = None, advance: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """Dense embeddings, float32 (n, d), chunk by chunk, here or in a pool's processes; the chunks are the same either way."""
        options: dict[str, Any] = {"prompt_name": self.prompt_name, "batch_size": self.batch_size, "show_progress_bar": False}
        if pool is not None:
            return np.asarray(encoder.encode(texts, pool=pool, chunk_size=CHUNK_TEXTS, **options))
        parts = []
        for chunk in _chunks(texts):
            parts.append(encoder.encode(chunk, **options))
            if advance is not None:
                advance(len(chunk))
        return np.concatenate(parts)

    def encoded(self, job: Job, head: BinarySparsityAlignment, dense: np.ndarray) -> Encoded:
        """A shard with the codes of its dense embeddings, chunk by chunk."""
        parts = [encode_embeddings(head, rows, refine=self.refine) for rows in _chunks(dense)]
        return Encoded(*job.stamp, BinaryCodes.concatenate(parts))

    def settings(self, source: Source) -> dict[str, Any]:
        """What a manifest keeps, since other values would give other codes or other shards."""
        return {**asdict(self), "shard_texts": source.shard_texts, "chunk_texts": CHUNK_TEXTS}


def _chunks(rows: Any) -> Iterator[Any]:
    return (rows[start : start + CHUNK_TEXTS] for start in range(0, len(rows), CHUNK_TEXTS))
