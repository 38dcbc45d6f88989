"""Why two texts match: their score as an exact sum over named features, and everything else."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import nnls
from sentence_transformers import SentenceTransformer

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import as_decoder, decode, inverse_norms
from bsa_st.concepts.dictionary import NamedDictionary, unit
from bsa_st.concepts.names import names_of
from bsa_st.encoding.encode import encode_embeddings, split_model
from bsa_st.errors import BSAError
from bsa_st.inputs.prompts import document_prompt, query_prompt
from bsa_st.inputs.texts import read_texts

Scored = Literal["float", "asymmetric", "decoded"]
MOST = 16
QUOTED = 100


@dataclass(frozen=True)
class Part:
    """What one name adds to a score."""

    name: str
    value: float  # products of two different names are divided evenly between both
    a: float  # how much of the first text's embedding points along the name, not negative
    b: float  # likewise of the second's


@dataclass(frozen=True)
class Explanation:
    """Why two texts match; ``str()`` says it in words. The score is ``sum(part.value for part in parts) + rest``.

    Example: ``bsa_st.explain(named, "Short stature", "Height below average").named_share``
    """

    a: str  # the query
    b: str  # the document
    scoring: str  # see :func:`explain`
    score: float
    parts: tuple[Part, ...] = field(repr=False)  # largest first
    rest: float  # everything else: what no name explains, what all texts have in common, and rounding

    @property
    def named_share(self) -> float:
        """Share of the score that the names explain; above 1 where the rest is negative, and 0 for a score of 0."""
        return 0.0 if self.score == 0 else (self.score - self.rest) / self.score

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "named_share": self.named_share}

    def __str__(self) -> str:
        return describe(self)


def explain(
    model: SentenceTransformer,
    a: str,
    b: str,
    *,
    scoring: Scored = "float",
    document: BinaryCodes | None = None,
    prompt_name: str | None = None,
) -> Explanation:
    """Why two texts match, name by name: both embeddings, less the mean, are written as sums of the same few atoms of the named dictionary.

    Args:
        model: A model with names, from :func:`bsa_st.name_features` or its folder.
        a, b: The query and the document.
        scoring: ``float`` cosine of the dense embeddings; ``asymmetric`` float query against the stored (refined) code, as an index scores; ``decoded`` both by
            their codes.
        document: The stored code of ``b``, e.g. from an index, for ``asymmetric`` and ``decoded``; default: ``b`` is encoded.
        prompt_name: Name of one of the model's prompts, for the query; default ``query``, if it has such a prompt.

    Raises:
        BSAError: If the model has no names, a text is empty, the scoring is unknown or the stored code does not fit.

    Example: ``print(bsa_st.explain(named, "Short stature", "Height below average"))``
    """
    if scoring not in get_args(Scored):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scored))}, got {scoring!r}: names explain embeddings")
    dictionary = names_of(model)
    encoder, head = split_model(model)
    read_texts([a, b] if document is None else [a])
    if document is not None and (len(document) != 1 or document.hidden_dim != head.hidden_dim):
        raise BSAError(f"document must be one code of {head.hidden_dim} features, got {document!r}")

    def embed(text: str, prompt: str | None) -> np.ndarray:
        return np.asarray(encoder.encode([text], prompt_name=prompt, show_progress_bar=False), dtype=np.float64)

    query = embed(a, query_prompt(encoder, prompt_name))
    first = unit(query, dtype=np.float64)[0]
    if scoring == "float":
        return explain_vectors(dictionary, first, unit(embed(b, document_prompt(encoder)), dtype=np.float64)[0], a=a, b=b)
    decoder = as_decoder(head, head.hidden_dim)
    code = encode_embeddings(head, embed(b, document_prompt(encoder))) if document is None else document
    second = decode(code, decoder.weight, decoder.offset)[0].astype(np.float64) * float(inverse_norms(code, *decoder)[0])
    if scoring == "decoded":
        first = decode(encode_embeddings(head, query), decoder.weight, decoder.offset)[0].astype(np.float64)
    return explain_vectors(dictionary, first, second, a=a, b=b, scoring=scoring)


def explain_vectors(
    dictionary: NamedDictionary,
    first: np.ndarray,
    second: np.ndarray,
    *,
    a: str = "",
    b: str = "",
    scoring: str = "float",
    most: int = MOST,
) -> Explanation:
    """The dot product of two vectors, float (d,), as a sum over names."""
    score = float(first @ second)
    size = float(np.linalg.norm(second)) or 1.0  # a decoded document may have any length; the mean belongs to length 1
    ids, shares, values = decompose(dictionary.atoms, first - dictionary.mean, second / size - dictionary.mean, most)
    parts = [
        Part(dictionary.names[number], float(value) * size, float(left), float(right))
        for number, value, (left, right) in zip(ids, values, shares, strict=True)
    ]
    parts.sort(key=lambda part: -part.value)
    return Explanation(a, b, scoring, score, tuple(parts), score - sum(part.value for part in parts))


def decompose(atoms: np.ndarray, first: np.ndarray, second: np.ndarray, most: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Two vectors, float (d,), as sums of the same few atoms, unit rows (D, d), each chosen for what the earlier ones leave of both.

    Returns the m atoms in the order in which they were chosen; how much of each is in both vectors, float64 (m, 2), not negative; what each adds to the
    dot product of both sums, float64 (m,), the products of two different atoms divided evenly between them.

    Source: simultaneous orthogonal matching pursuit, J. Tropp, A. Gilbert and M. Strauss, "Algorithms for simultaneous sparse approximation, part I" (2006),
    with coefficients that are not negative (A. Bruckstein, M. Elad and M. Zibulevsky, "On the uniqueness of nonnegative sparse solutions", 2008).
    """
    pair = np.stack([first, second], axis=1).astype(np.float64)
    ids: list[int] = []
    left, found = pair, np.zeros((0, 2))
    for _ in range(min(most, len(atoms))):
        gains = np.square(np.maximum(atoms @ left.astype(np.float32), 0)).sum(axis=1)
        gains[ids] = 0
        best = int(gains.argmax())
        if gains[best] <= 1e-9:
            break
        ids.append(best)
        chosen = atoms[ids].astype(np.float64).T
        found = np.stack([nnls(chosen, pair[:, side])[0] for side in (0, 1)], axis=1)
        left = pair - chosen @ found
    chosen = atoms[ids].astype(np.float64)
    sums = found.T @ chosen
    return ids, found, (found[:, 0] * (chosen @ sums[1]) + found[:, 1] * (chosen @ sums[0])) / 2


def describe(explanation: Explanation, top: int = 10) -> str:
    """The explanation as lines of text: each name with what it adds and whose it is, then everything else, then the sum."""
    shown, others = explanation.parts[:top], explanation.parts[top:]
    width = max([len(part.name) for part in shown] + [16])
    a, b = (_printable(textwrap.shorten(text, QUOTED, placeholder="…")) for text in (explanation.a, explanation.b))
    lines = [f"'{a}' and '{b}'", f"score {explanation.score:.4f} ({explanation.scoring})", ""]
    lines += [f"{part.value:+8.4f}  {_printable(part.name):<{width}}  {_whose(part)}".rstrip() for part in shown]
    if others:
        lines.append(f"{sum(part.value for part in others):+8.4f}  {len(others)} more names")
    lines.append(f"{explanation.rest:+8.4f}  everything else ({1 - explanation.named_share:.0%} of the score)")
    lines.append(f"{explanation.score:+8.4f}  score")
    return "\n".join(lines)


def match_line(explanation: Explanation, top: int = 4, width: int = 140) -> str:
    """The explanation on one line, as under a search result. Names that are cut are summed up, so that the line adds up too."""
    shown, others = explanation.parts[:top], explanation.parts[top:]
    pieces = [f"{_printable(part.name)} {part.value:+.3f}" for part in shown]
    if others:
        pieces.append(f"{len(others)} more {sum(part.value for part in others):+.3f}")
    rest = f"everything else {explanation.rest:+.3f} ({1 - explanation.named_share:.0%})"
    return "; ".join([textwrap.shorten(piece, width, placeholder="…") for piece in pieces] + [rest])


def _whose(part: Part) -> str:
    low, high = sorted((part.a, part.b))
    if high > 0 and low < 0.25 * high:
        return "first text" if part.a > part.b else "second text"
    return "both"


def _printable(text: str) -> str:
    """Without control characters, which could drive a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
