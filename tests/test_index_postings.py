"""Inversion: bitmaps and lists of every feature hold exactly the documents that fire it."""

from __future__ import annotations

import numpy as np
import pytest

from bsa_st import BinaryCodes
from bsa_st.index import postings as postings_module
from bsa_st.index.postings import Postings
from bsa_st.index.store import CodeStore

pytest.importorskip("numba")


@pytest.mark.parametrize("texts", [1, 64, 513, 1500])
@pytest.mark.parametrize("hidden_dim", [30, 500])  # by turning bits, by scattering them
@pytest.mark.parametrize("dense", [2, 60, 10_000])  # bitmaps alone, both, lists alone
def test_every_feature_has_its_documents(texts: int, hidden_dim: int, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings_module, "DENSE", dense)
    rng = np.random.default_rng(texts)
    fires = rng.random((texts, hidden_dim)) < np.linspace(0, 0.09, hidden_dim) * (1 if hidden_dim > 100 else 5)
    codes = BinaryCodes.from_dense(fires.astype(np.float32))
    store = CodeStore.empty(hidden_dim, False).append(codes)
    found = Postings.build(store, 0, store.blocks, None, with_rows=False)
    assert np.array_equal(found.frequency, fires.sum(axis=0))
    for feature in range(hidden_dim):
        slot = int(found.slots[0, feature])
        assert (slot >= 0) == (fires[:, feature].sum() >= dense)
        if slot >= 0:
            documents = np.flatnonzero(np.unpackbits(found.bitmaps[slot].view(np.uint8), bitorder="little"))
        else:
            documents = found.postings[found.starts[0, feature] : found.starts[0, feature + 1]]
        assert np.array_equal(documents, np.flatnonzero(fires[:, feature]))
