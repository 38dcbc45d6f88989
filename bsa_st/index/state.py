"""What an index holds at one moment, and the inverted index made from it when it is first needed."""

from __future__ import annotations

import threading

from bsa_st.index.collection import Collection
from bsa_st.index.counting import Decoder
from bsa_st.index.part import Part, inverted_parts
from bsa_st.index.stats import IndexStats, measure
from bsa_st.index.view import View


class State:
    """Documents that change and views of them that do not; whoever changes documents holds ``lock``.

    Args:
        documents: The documents.
        decoder: Their decoder.
    """

    def __init__(self, documents: Collection, decoder: Decoder | None) -> None:
        self.documents = documents
        self.decoder = decoder
        self.lock = threading.RLock()
        self._parts: list[Part] = []
        self._view: View | None = None

    def change(self, documents: Collection, *, moved: bool = False) -> None:
        """Put other documents in the place of these. Full blocks that are inverted stay so, unless documents have ``moved``."""
        self.documents, self._view = documents, None
        if moved:
            self._parts = []

    def snapshot(self) -> tuple[View, Collection]:
        """The documents and a view of just these."""
        with self.lock:
            if self._view is None:
                store, _, live = self.documents
                self._parts = inverted_parts(store, self._parts, with_rows=self.decoder is not None)
                self._view = View(store, self._parts, live, self.decoder)
            return self._view, self.documents

    def stats(self) -> IndexStats:
        """Numbers of documents and features, and bytes of every part."""
        with self.lock:
            return measure(*self.documents, self.decoder, self._parts, self._view)
