"""Labels of all features of a head, from one pass over a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from bsa_st.encoding.encode import split_model
from bsa_st.errors import BSAError
from bsa_st.explain.atlas import Family, Feature, FeatureAtlas, Term, head_fingerprint
from bsa_st.explain.collect import SAMPLE_TEXTS, Collected, Collector, chunks, clip
from bsa_st.explain.families import coactivation, families, feature_map, name_clusters, neighbours
from bsa_st.explain.terms import feature_terms
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.inputs.embed import embed
from bsa_st.inputs.prompts import document_prompt
from bsa_st.inputs.row_shards import Embeddings
from bsa_st.inputs.unit_rows import BATCH_CELLS

SHOWN = 5
CHARACTERS = 240
EXAMPLES = 1500
NEIGHBOURS = 6
LABEL_TERMS = 3
LABEL_CHARACTERS = 48


def label_features(
    model: SentenceTransformer,
    texts: Iterable[str],
    *,
    embeddings: Embeddings | None = None,
    shown: int = SHOWN,
    sample: int = SAMPLE_TEXTS,
    batch_size: int = 32,
    show_progress_bar: bool = True,
) -> FeatureAtlas:
    """What each feature of a model means, as a corpus shows it.

    The texts are read once, in batches; what is kept does not grow with their number: a few texts per feature, and a uniform sample
    from which terms, quality and neighbours are computed.

    Args:
        model: A model from :func:`bsa_st.distill` or :func:`bsa_st.load`.
        texts: Documents, encoded with the model's prompt for them: any iterable of texts, e.g. :func:`bsa_st.inputs.texts.stream_texts` of a file.
        embeddings: Their dense embeddings, float (n, d), in the same order; default: computed on the way.
        shown: Texts kept per feature and kind (strongest, borderline, just off, nearest).
        sample: Size of the uniform sample.
        batch_size: Texts per forward pass of the encoder.
        show_progress_bar: Show a bar over the texts.

    Returns:
        The labels. ``model[-1].labels = atlas`` makes :func:`bsa_st.explain` use them and :func:`bsa_st.save` keep them;
        :func:`bsa_st.explain.page.write_page` makes a page of them.

    Raises:
        BSAError: If the model has no BSA head, there is no text, or there are not as many embeddings as texts.
    """
    encoder, head = split_model(model)
    prompt = document_prompt(encoder)
    if shown < 1 or sample < 2:
        raise BSAError(f"shown must be at least 1 and sample at least 2, got {shown} and {sample}")
    if embeddings is not None and (embeddings.ndim != 2 or embeddings.shape[1] != head.input_dim):
        raise BSAError(f"embeddings must have shape (n, {head.input_dim}), got {embeddings.shape}")
    collector = Collector(head, shown, sample, CHARACTERS)
    total = None if embeddings is None else len(embeddings)
    with tqdm(total=total, desc="Reading features", unit="text", disable=not show_progress_bar) as bar:
        for batch in chunks(texts, max(1, min(4096, BATCH_CELLS // head.hidden_dim))):
            if embeddings is None:
                rows = embed(encoder, batch, batch_size=batch_size, prompt_name=prompt)
            else:
                rows = np.array(embeddings[collector.texts : collector.texts + len(batch)], dtype=np.float32)
            if len(rows) < len(batch):
                raise BSAError(f"there are {total} embeddings and more texts than that")
            if not np.isfinite(rows).all():
                raise BSAError(
                    f"embeddings hold NaN or infinite values within texts {collector.texts + 1} to {collector.texts + len(batch)}"
                )
            collector.add(batch, torch.from_numpy(rows).to(head.weight.device))
            bar.update(len(batch))
    if collector.texts == 0:
        raise BSAError("there is no text to learn the features from")
    if total is not None and total != collector.texts:
        raise BSAError(f"there are {total} embeddings for {collector.texts} texts")
    return build_atlas(head, collector.finish())


def build_atlas(head: BinarySparsityAlignment, found: Collected, seed: int = 0) -> FeatureAtlas:
    """Terms, quality, neighbours, families, map and examples from what one pass collected."""
    decoder = head.decoder_weight.detach().cpu().numpy()
    terms, auc = feature_terms(found.sample, found.codes)
    together, alone = coactivation(found.codes)
    close = neighbours(together, alone, NEIGHBOURS)
    hierarchy = families(together, alone, decoder)
    names = name_clusters(terms, hierarchy.family, len(hierarchy.group))
    groups = name_clusters(terms, hierarchy.group[hierarchy.family], int(hierarchy.group.max()) + 1)
    places = feature_map(together, alone, decoder)
    features = [
        Feature(
            id=number,
            count=int(found.counts[number]),
            label=short_label(terms[number]),
            auc=auc[number],
            terms=terms[number],
            strongest=list(zip(*found.strongest[number], strict=True)),
            borderline=list(zip(*found.borderline[number], strict=True)),
            just_off=list(zip(*found.just_off[number], strict=True)),
            nearest=list(zip(*found.nearest[number], strict=True)),
            neighbours=close[number],
            family=int(hierarchy.family[number]),
            place=(round(float(places[number, 0]), 4), round(float(places[number, 1]), 4)),
        )
        for number in range(head.hidden_dim)
    ]
    chosen = _distinct(found.sample, np.random.default_rng(seed).permutation(len(found.sample)))
    return FeatureAtlas(
        head=head_fingerprint(head),
        texts=found.texts,
        sampled=len(found.sample),
        features=features,
        families=[Family(label, int(group)) for label, group in zip(names, hierarchy.group, strict=True)],
        groups=groups,
        active=found.active.tolist(),
        examples=[(clip(found.sample[place], CHARACTERS), found.codes[place].ids.tolist()) for place in chosen],
    )


def short_label(terms: Sequence[Term]) -> str:
    """The first terms that add a word of their own, as one name; empty if there are none."""
    chosen: list[str] = []
    for term in terms:
        words = {word for old in chosen for word in old.split()}
        if len(chosen) < LABEL_TERMS and not words & set(term.term.split()):
            longer = " · ".join([*chosen, term.term])
            if chosen and len(longer) > LABEL_CHARACTERS:
                break
            chosen.append(term.term)
    return " · ".join(chosen)[:LABEL_CHARACTERS]


def _distinct(texts: Sequence[str], order: np.ndarray) -> list[int]:
    """Positions of the first texts in an order that differ in more than case, sorted as the corpus is."""
    seen: dict[str, int] = {}
    for place in order.tolist():
        if len(seen) == EXAMPLES:
            break
        seen.setdefault(clip(texts[place], CHARACTERS).casefold(), place)
    return sorted(seen.values())
