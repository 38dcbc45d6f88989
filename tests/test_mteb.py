"""An exported folder in mteb, with no code of ours."""

from __future__ import annotations

from pathlib import Path

import mteb
import pytest
from mteb.models import SentenceTransformerEncoderWrapper
from mteb.results import TaskResult
from mteb.results.task_result import TaskError
from sentence_transformers import SentenceTransformer

import bsa_st
from tests.smallmodel import small_model


@pytest.mark.slow
def test_every_kind_of_task_runs(tmp_path: Path) -> None:
    bsa_st.save(small_model(tmp_path / "encoder"), tmp_path / "model")
    ran = mteb.mock_run(SentenceTransformerEncoderWrapper(SentenceTransformer(str(tmp_path / "model"))))
    failed = [name for name, result in ran.items() if isinstance(result, TaskError)]
    assert failed == []
    scores = {name: result.get_score() for name, result in ran.items() if isinstance(result, TaskResult)}
    assert {"MockRetrievalTask", "MockSTSTask", "MockClusteringTask", "MockClassificationTask"} <= scores.keys()
