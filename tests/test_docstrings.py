"""Every public name says how it is used, in one line that runs."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

import bsa_st

TEXTS = ["Short stature", "Tall stature", "Seizure", "Febrile seizure", "Cleft palate", "Cleft lip", "Hearing loss", "Deafness"]
ELSEWHERE = {"push_to_hub"}
"""What needs a server: tests/test_remote.py has one."""
EARLIER = ["save", "encode_to_shards"]
"""What makes the folders that others read."""


def test_the_examples_of_docstrings_run(teacher: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(bsa_st.__all__) <= 25
    examples = {name: re.findall(r"Example: ``(.+?)``", getattr(bsa_st, name).__doc__ or "") for name in bsa_st.__all__}
    assert [name for name, found in examples.items() if len(found) != 1] == []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BSA_ST_CACHE", str(tmp_path / "cache"))
    teacher.save_pretrained("sentence-transformers/all-MiniLM-L6-v2", create_model_card=False)
    names = {"bsa_st": bsa_st, "contextlib": contextlib, "encoder": teacher, "texts": TEXTS}
    names |= {"model": bsa_st.attach(teacher), "named": bsa_st.attach(teacher, sparse=True)}
    for name in [*EARLIER, *sorted(set(bsa_st.__all__) - ELSEWHERE - {*EARLIER})]:
        exec(examples[name][0], dict(names))
