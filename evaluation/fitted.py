"""Fitted methods on disk, so that every method is fitted once and any process can score with it."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bsa_st.atomic import atomic_file
from bsa_st.cache import encoder_fingerprint, texts_fingerprint
from evaluation.heads import head_figures
from evaluation.methods.base import Method
from evaluation.methods.bsa import BSA
from evaluation.prepare import Plan
from evaluation.training import adaptation_texts, training_embeddings

FORMAT = 3
"""Changes when results made by an older version of this folder must not be taken up again."""


class Fitted(NamedTuple):
    """A fitted method and how long that took."""

    method: Method
    seconds: float


class Fitter:
    """Fits methods of a plan, or takes them from ``work/fitted``, a folder that only this program writes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._encoder = encoder_fingerprint(plan.store.encoder)
        self._general = texts_fingerprint(plan.general)
        self._prompt = plan.store.document_prompt
        self._adapted = texts_fingerprint(adaptation_texts(plan.tasks))
        self._training: dict[str, np.ndarray] = {}

    def key(self, setting: str, method: Method) -> str:
        """Changes with everything that decides what the method becomes."""
        texts = [self._general, self._adapted if setting == "adapted" else ""] if method.trained else []
        texts += [self._prompt] if method.trained and self._prompt else []
        return digest(self._encoder, *texts, method.name, json.dumps(method.settings(), sort_keys=True, default=str))

    def folder(self, kind: str, setting: str, method: Method) -> Path:
        """Where something of the method is kept: methods that learn nothing are the same in both settings."""
        return self.plan.request.work / kind / self.plan.model / (setting if method.trained else "untrained")

    def __call__(self, setting: str, method: Method) -> Fitted:
        """The fitted method."""
        path = self._path(setting, method)
        if path.is_file():
            return _read(path)
        training = self._embeddings(setting)
        method = copy.deepcopy(method)  # the plan's own stays as it is: what it learns in one setting is nothing for the other
        shared = self._share_head(setting, method)
        began = time.perf_counter()
        method.fit(training)
        fitted = Fitted(method, time.perf_counter() - began if shared is None else shared)
        if method.figures:
            method.figures |= head_figures(method, training) | {"seconds_to_fit": round(fitted.seconds, 1)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            pickle.dump(fitted, file)
        return fitted

    def _path(self, setting: str, method: Method) -> Path:
        return self.folder("fitted", setting, method) / f"{method.name}-{self.key(setting, method)}.pickle"

    def _share_head(self, setting: str, method: Method) -> float | None:
        """Give a BSA method the head that another budget of it has trained; the seconds that this took, ``None`` if there is none."""
        if not isinstance(method, BSA):
            return None
        for other in self.plan.methods:
            if isinstance(other, BSA) and other.variant.settings == method.variant.settings:
                path = self._path(setting, other)
                if path.is_file():
                    fitted = _read(path)
                    method.whole_head = getattr(fitted.method, "whole_head", None)
                    return fitted.seconds if method.whole_head is not None else None
        return None

    def _embeddings(self, setting: str) -> np.ndarray:
        if setting not in self._training:
            plan = self.plan
            self._training = {setting: training_embeddings(plan.store, setting, plan.general, plan.tasks)}  # one at a time
        return self._training[setting]


def _read(path: Path) -> Fitted:
    fitted: Fitted = pickle.loads(path.read_bytes())
    return fitted


def digest(*parts: str) -> str:
    """A short fingerprint of strings."""
    return hashlib.sha256("\0".join([str(FORMAT), *parts]).encode()).hexdigest()[:12]
