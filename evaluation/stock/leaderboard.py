"""``ModelMeta`` of saved BSA models, as mteb's leaderboard wants it."""

from __future__ import annotations

from mteb.models import ModelMeta
from mteb.models.model_meta import ScoringFunction
from mteb.types import OutputDType
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError


def bsa_meta(
    model: SentenceTransformer,
    name: str,
    revision: str,
    *,
    adapted_from: str,
    release_date: str | None = None,
    license: str = "apache-2.0",
    training_datasets: set[str] | None = None,
) -> ModelMeta:
    """The entry for mteb's list of models, of a BSA model on the Hub.

    Args:
        model: The model as ``SentenceTransformer(name)`` loads it.
        name: ``organization/model`` on the Hub.
        revision: Commit hash on the Hub: mteb wants scores to be tied to one state of the weights.
        adapted_from: The dense encoder's name.
        release_date: ``YYYY-MM-DD``.
        license: Licence of the weights.
        training_datasets: mteb names of the data sets that the encoder and the head were trained on.

    Raises:
        BSAError: If the name has no organization, or the revision is a branch name rather than a commit.
    """
    if name.count("/") != 1 or not all(name.split("/")):
        raise BSAError(f"the model name must read organization/model, got {name!r}")
    if len(revision) != 40 or set(revision) - set("0123456789abcdef"):
        raise BSAError(f"the revision must be a commit hash of 40 hex digits, got {revision!r}")
    parameters = sum(tensor.numel() for tensor in model.parameters())
    embedding = sum(
        module.weight.numel() for _, module in model.named_modules() if type(module).__name__ in ("Embedding", "EmbeddingBag")
    )
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "similarity_fn_name": ScoringFunction.DOT_PRODUCT,
            "adapted_from": adapted_from,
            "release_date": release_date,
            "license": license,
            "training_datasets": training_datasets,
            "output_dtypes": [OutputDType.FLOAT32, OutputDType.BINARY],
            "reference": f"https://huggingface.co/{name}",
            "open_weights": True,
            "n_parameters": parameters,
            "n_embedding_parameters": embedding,
            "memory_usage_mb": round(sum(tensor.numel() * tensor.element_size() for tensor in model.parameters()) / 2**20, 1),
            "max_tokens": model.max_seq_length,
            "embed_dim": model.get_embedding_dimension(),
            "languages": ["eng-Latn"],
            "framework": ["Sentence Transformers", "PyTorch"],
            "use_instructions": False,
        }
    )
