"""Watch for the spot notices of Amazon EC2, by its instance metadata service, version 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from cloud_tasks.clock import Clock
from cloud_tasks.termination.base import Notice
from cloud_tasks.termination.metadata import Answer, MetadataError
from cloud_tasks.termination.polling import UNTOLD, PollingProbe, Question

#: Lifetime of a token in seconds: the longest that the service grants. It is renewed a minute
#: before its end.
_TOKEN_LIFE = 21_600
_TOKEN_MARGIN = 60
_UNAUTHORIZED, _NOT_FOUND = 401, 404


class AwsProbe(PollingProbe):
    """Watches for the termination, stop or hibernation of a spot instance.

    The notice comes two minutes ahead; that of a hibernation comes at the last moment. A rebalance
    recommendation says that the instance is likelier than others to be taken away: it is reported
    once as a notice that isn't final, and kills nothing. Amazon advises to ask every 5 s.
    """

    variable = "AWS_EC2_METADATA_SERVICE_ENDPOINT"

    def __init__(
        self, *, address: str | None = None, period: float = 5.0, clock: Clock | None = None
    ) -> None:
        super().__init__(address=address, period=period, clock=clock)
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
        notice = answer.mapping()
        end = _seconds(notice.get("time"))
        return Notice(
            f"spot {notice.get('action') or 'interruption'}",
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
                # A token ends early if the machine was asleep, or its service was restarted.
                self._token_until = -math.inf
                answer = self._ask_once(path)
        except MetadataError:
            # The token itself may be the reason, if it can't be sent.
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
    """Return the ISO 8601 time *text* in seconds since the epoch; None: it is no such time."""
    try:
        # Python 3.10 can't parse the Z; the service writes UTC, with or without it.
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
