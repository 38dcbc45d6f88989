"""The README of a BSA model: front matter for the Hub, usage, and the measured figures of its training."""

from __future__ import annotations

from huggingface_hub import ModelCardData
from sentence_transformers import SentenceTransformer

from bsa_st.module import BinarySparsityAlignment

PLACEHOLDER = "org/model-bsa"

_TEMPLATE = """---
{front_matter}
---
# Binary sparse codes: {hidden_dim} features, about {k} active

This model turns a text into a binary sparse code by a Binary Sparsity Alignment head on a frozen dense encoder.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")  # stock modules only: no flag, no other package
codes = model.encode(texts)  # float32 in {{0.0, 1.0}}, shape (n, {hidden_dim})
```

```python
import bsa_st

model = bsa_st.load("{name}")  # the full head
codes = bsa_st.encode(model, texts)  # active feature ids, tens of bytes per text
```

{export_note}
{figures}"""

_EXACT = "Both loaders give the same codes, bit for bit (threshold mode).\n"
_CALIBRATED = (
    "The head selects exactly {k} features (topk mode) when loaded by `bsa_st.load`. Plain sentence-transformers gets a calibrated\n"
    "threshold form of it: {k} active features on average, a varying number per text.\n"
)


def model_card(encoder: SentenceTransformer, head: BinarySparsityAlignment, name: str = PLACEHOLDER) -> str:
    """Markdown text of the card, front matter included.

    Args:
        encoder: The dense encoder.
        head: The trained head; figures come from its ``report``.
        name: Name of the model in the usage example.
    """
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="feature-extraction",
        tags=["sentence-transformers", "sparse", "binary", "bsa", "feature-extraction"],
        base_model=encoder.model_card_data.base_model,
    )
    note = _EXACT if head.selection == "threshold" else _CALIBRATED.format(k=head.k)
    return _TEMPLATE.format(
        front_matter=data.to_yaml(), name=name, hidden_dim=head.hidden_dim, k=head.k, export_note=note, figures=_figures(head)
    )


def _figures(head: BinarySparsityAlignment) -> str:
    if not head.report:
        return ""
    rows = {"texts": head.report["texts"], "training seconds": head.report["seconds_training"], **head.report["figures"]}
    lines = [f"| {name.replace('_', ' ')} | {value} |" for name, value in rows.items()]
    return "\n".join(["## Training", "", "| | |", "|---|---|", *lines, ""])
