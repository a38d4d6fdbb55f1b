"""How many threads numerical libraries may start in a process of tasks.

Each of them takes all cores by itself. With a process a slot that would be slots x cores
threads, which get in each other's way.
"""

from __future__ import annotations

from collections.abc import Mapping

#: What all of them heed, where their own variable says nothing.
_COMMON = "OMP_NUM_THREADS"
#: Of OpenBLAS, MKL, BLIS, Apple's vecLib and numexpr.
_OWN = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def thread_limits(slots: int, cores: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that share *cores* among *slots*, but for what *environ* sets.

    The library's own variable beats the common one, so whoever has set the common one gets none
    of the others from us: it would overrule the choice.
    """
    if environ.get(_COMMON):
        return {}
    share = str(max(1, cores // max(1, slots)))
    return {name: share for name in (_COMMON, *_OWN) if not environ.get(name)}
