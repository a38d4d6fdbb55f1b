"""Limit the threads that numerical libraries start in a process of tasks.

Each of these libraries takes all cores by default. With one process a slot that would be slots x
cores threads, which slow each other down.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Read by all of them if their own variable is not set.
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
    """Return the variables that divide *cores* among *slots*, without those set in *environ*.

    If *environ* sets the common variable, there are none: a library's own variable beats the
    common one, so it would overrule the user's choice.
    """
    if environ.get(_COMMON):
        return {}
    share = str(max(1, cores // max(1, slots)))
    return {name: share for name in (_COMMON, *_OWN) if not environ.get(name)}
