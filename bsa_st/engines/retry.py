"""Trying again what may succeed later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from bsa_st.engines.documents import Unavailable

LOG = logging.getLogger(__name__)
FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""

Result = TypeVar("Result")


def with_retries(call: Callable[[], Result], attempts: int = 5, wait: float = FIRST_WAIT) -> Result:
    """The call's result; on :class:`~bsa_st.engines.documents.Unavailable` the call is made again.

    Args:
        call: Safe to make twice.
        attempts: Calls at most, at least 1; the last one's error is raised.
        wait: Seconds before the second attempt.
    """
    for attempt in range(attempts - 1):
        try:
            return call()
        except Unavailable as error:
            LOG.warning("%s; trying again", error)
            time.sleep(wait * 2**attempt)
    return call()
