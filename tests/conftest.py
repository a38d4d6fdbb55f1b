"""Set up signals and hypothesis for all tests; fixtures of servers for all."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings
from leftovers import OURS
from servers.moto import aws_env, moto_url  # noqa: F401
from servers.pubsub import pubsub_emulator  # noqa: F401


def pytest_configure() -> None:
    name, _, value = OURS.partition("=")
    os.environ[name] = value
    # Whoever starts the tests in the background of a shell gives them signals that are ignored,
    # and so has everything that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_DFL)
    # How long an example takes is the machine's affair. The gate runs the same ones each time; at
    # home they are new ones.
    calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("home", calm)
    settings.register_profile("gate", calm, derandomize=True)
    settings.load_profile("gate" if os.environ.get("CI") else "home")
