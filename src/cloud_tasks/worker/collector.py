"""Python's cycle collector, while a run lasts."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def spared_what_exists() -> Iterator[None]:
    """Keep the collector from looking at what exists already, until the end of the block.

    Modules and their functions make up nearly all that it would walk over again and again while
    tasks come and go. A program that had frozen something itself finds it so, and the rest as well:
    the collector can't let go of a part.
    """
    to_be_kept = gc.get_freeze_count() > 0
    gc.freeze()
    try:
        yield
    finally:
        if not to_be_kept:
            gc.unfreeze()
