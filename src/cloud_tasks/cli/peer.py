"""Noticing the distribution that provides a package of the same name."""

from __future__ import annotations

import sys
from pathlib import Path


def peer_warning() -> str | None:
    """Say so if rms-cloud-tasks is installed beside us; None: it is not.

    Looks for its folder of metadata: reading all metadata would load half the standard library
    for ``--help``.
    """
    for folder in sys.path:
        if any(Path(folder or ".").glob("rms_cloud_tasks-*.dist-info")):
            return (
                "rms-cloud-tasks is installed in the same environment, and both packages are "
                "named cloud_tasks: uninstall it, then install cloud-tasks again "
                "(pip uninstall rms-cloud-tasks; pip install --force-reinstall cloud-tasks)"
            )
    return None
