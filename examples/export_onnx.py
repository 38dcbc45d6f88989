"""A saved model as two ONNX graphs, from tokens to bits and from tokens to query weights: onnxruntime and a tokenizer run them alone.

    pip install onnx onnxscript onnxruntime
    python examples/export_onnx.py MODEL FOLDER

Writes ``document.onnx`` (packed bits, uint8 (n, D/8)), ``query.onnx`` (weights, float32 (n, D)) and ``tokenizer.json`` into FOLDER. Inputs of both: ``input_ids`` and
``attention_mask``, int64 (n, length). bsa_st is not needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn


class Graph(nn.Module):
    """One route of a model as a function of tensors."""

    def __init__(self, model: SentenceTransformer, task: str) -> None:
        super().__init__()
        self.encoder = model[0].auto_model
        self.others = nn.ModuleList(list(model)[1:-2])
        self.route = model[-2].sub_modules[task]
        self.packed = task == "document"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Packed bits of documents, or the weights of queries."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        features = {"token_embeddings": tokens, "attention_mask": attention_mask}
        for module in (*self.others, *self.route):
            features = module(features)
        values = features["sentence_embedding"]
        if not self.packed:
            return values
        bits = (values > 0).unflatten(1, (-1, 8)).int()
        places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.int32)
        return (bits * places).sum(dim=2).to(torch.uint8)


def export(name: str, folder: Path) -> None:
    """Write both graphs of a model and its tokenizer."""
    model = SentenceTransformer(name, device="cpu").eval()
    folder.mkdir(parents=True, exist_ok=True)
    tokens = model.tokenizer(["one text", "another text"], return_tensors="pt")
    inputs = ["input_ids", "attention_mask"]
    for task, output in (("document", "bits"), ("query", "weights")):
        torch.onnx.export(
            Graph(model, task).eval(),
            tuple(tokens[name] for name in inputs),
            str(folder / f"{task}.onnx"),
            input_names=inputs,
            output_names=[output],
            dynamic_axes={**{name: {0: "texts", 1: "length"} for name in inputs}, output: {0: "texts"}},
            opset_version=17,
            dynamo=False,
        )
    model.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]))
