"""Executors start processes: each test is checked for what it leaves."""

from __future__ import annotations

from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)
