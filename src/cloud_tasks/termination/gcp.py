"""Watch for the termination notices of Google Compute Engine, by its metadata server."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_tasks.termination.base import Notice
from cloud_tasks.termination.metadata import MetadataError
from cloud_tasks.termination.polling import UNTOLD, PollingProbe, Question


class GcpProbe(PollingProbe):
    """Watches for the preemption of a spot machine, and for host maintenance that ends a machine.

    Google promises 30 s between the notice and the end and names no time, so it is asked every
    second. Maintenance that moves the machine while it runs is no notice.
    """

    variable = "GCE_METADATA_HOST"

    def _questions(self) -> Sequence[Question]:
        return self._preemption, self._maintenance

    def _ask_id(self) -> str:
        # Not the number that "id" gives: a manager of machines knows them by name.
        return self._ask("name")

    def _preemption(self) -> Notice | None:
        answer = self._ask("preempted")
        if answer not in {"TRUE", "FALSE"}:
            raise MetadataError(f"preempted: {answer[:80]!r} is neither TRUE nor FALSE")
        return Notice("preempted", UNTOLD) if answer == "TRUE" else None

    def _maintenance(self) -> Notice | None:
        if self._ask("maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return Notice("host maintenance: terminate", UNTOLD)
        return None

    def _ask(self, name: str) -> str:
        path = f"/computeMetadata/v1/instance/{name}"
        return self._service.ask(path, {"Metadata-Flavor": "Google"}).content()
