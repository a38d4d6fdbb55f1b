"""Spot notices of Amazon EC2, from its instance metadata service, version 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from cloud_tasks.clock import Clock
from cloud_tasks.termination.base import Notice
from cloud_tasks.termination.metadata import Answer, MetadataError, MetadataService
from cloud_tasks.termination.polling import UNTOLD, PollingProbe, Question

#: Seconds; the longest that the service grants.
_TOKEN_LIFE = 21_600
_TOKEN_MARGIN = 60
_UNAUTHORIZED, _NOT_FOUND = 401, 404


class AwsProbe(PollingProbe):
    """Hears that a spot instance will be terminated, stopped or hibernated.

    The notice comes two minutes ahead; before a hibernation it comes at the last moment. A
    recommendation to rebalance says that the instance is likelier than others to be taken: it is
    told once, isn't final, and nothing is killed for it.

    Args:
        address: ``http://HOST:PORT`` of the service, see :class:`.metadata.MetadataService`; the
            provider's variable is ``AWS_EC2_METADATA_SERVICE_ENDPOINT``.
        period: seconds from one round of questions to the next; Amazon advises five.
        clock: for tests.
    """

    def __init__(
        self, *, address: str | None = None, period: float = 5.0, clock: Clock | None = None
    ) -> None:
        service = MetadataService(address, variable="AWS_EC2_METADATA_SERVICE_ENDPOINT")
        super().__init__(service, period=period, clock=clock)
        self._token = ""
        self._token_until = -math.inf

    def _questions(self) -> Sequence[Question]:
        return self._interruption, self._rebalance

    def _ask_id(self) -> str:
        return self._ask("instance-id").content()

    def _interruption(self) -> Notice | None:
        answer = self._ask("spot/instance-action")
        if answer.status == _NOT_FOUND:
            return None
        told = answer.mapping()
        end = _seconds(told.get("time"))
        return Notice(
            f"spot {told.get('action') or 'interruption'}",
            UNTOLD if end is None else self._left(end),
        )

    def _rebalance(self) -> Notice | None:
        answer = self._ask("events/recommendations/rebalance")
        if answer.status == _NOT_FOUND:
            return None
        answer.mapping()
        return Notice("rebalance recommendation", None, final=False)

    def _ask(self, path: str) -> Answer:
        try:
            answer = self._ask_once(path)
            if answer.status == _UNAUTHORIZED:
                # Tokens end early where the machine was asleep or its service was restarted.
                self._token_until = -math.inf
                answer = self._ask_once(path)
        except MetadataError:
            # It may be the token that can't even be sent.
            self._token_until = -math.inf
            raise
        return answer

    def _ask_once(self, path: str) -> Answer:
        headers = {"X-aws-ec2-metadata-token": self._valid_token()}
        return self._service.ask(f"/latest/meta-data/{path}", headers)

    def _valid_token(self) -> str:
        now = self._clock.monotonic()
        if now >= self._token_until:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFE)}
            self._token = self._service.ask("/latest/api/token", life, method="PUT").content()
            self._token_until = now + _TOKEN_LIFE - _TOKEN_MARGIN
        return self._token


def _seconds(text: object) -> float | None:
    """Return what ISO 8601 *text* says, in seconds since the epoch; None if it is no such text."""
    try:
        # Python 3.10 doesn't know the Z; the service writes UTC, with or without it.
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
