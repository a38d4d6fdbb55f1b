from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from typing import Any

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

pytest.importorskip("botocore", reason="boto3 isn't installed: pip install 'cloud-tasks[aws]'")

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from cloud_tasks.errors import (
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.queues.sqs import codes
from cloud_tasks.queues.sqs.client import Connection, as_queue_error

PLACE = "SQS queue 'job' in region eu-west-1"
URL = "https://me:hush@sqs.example/"


def answer(code: str, message: str = "", status: int = 400) -> sdk.ClientError:
    told: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return sdk.ClientError(told, "ReceiveMessage")


def below(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


TRANSIENT = {
    "throttled": answer("ThrottlingException"),
    "throttled by the key service": answer("KmsThrottled"),
    "too many held": answer("OverLimit", status=403),
    "too many, by its status": answer("Whatever", status=429),
    "an internal error": answer("InternalFailure", status=500),
    "a gateway's page": answer("502", "Bad Gateway", status=502),
    "expired credentials": answer("ExpiredToken", status=403),
    "purged just now": answer("AWS.SimpleQueueService.PurgeQueueInProgress", status=403),
    "deleted just now": answer("AWS.SimpleQueueService.QueueDeletedRecently"),
    "no connection": sdk.EndpointConnectionError(endpoint_url=URL),
    "no connection in time": sdk.ConnectTimeoutError(endpoint_url=URL),
    "no answer in time": sdk.ReadTimeoutError(endpoint_url=URL),
    "a cut connection": sdk.ConnectionClosedError(endpoint_url=URL),
    "a proxy that is away": sdk.ProxyConnectionError(proxy_url=URL),
    "half an answer": sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    "an answer that is none": ResponseParserError("invalid"),
    "a role that is silent": sdk.CredentialRetrievalError(provider="iam-role", error_msg="none"),
    "a role that is late": RuntimeError("the refreshed credentials are still expired"),
}
REFUSED = {
    "no credentials": sdk.NoCredentialsError(),
    "half of the credentials": sdk.PartialCredentialsError(provider="env", cred_var="x"),
    "no region": sdk.NoRegionError(),
    "no such profile": sdk.ProfileNotFound(profile="x"),
    "no right": answer("AccessDenied", status=403),
    "unknown credentials": answer("InvalidClientTokenId", status=403),
    "a wrong signature": answer("SignatureDoesNotMatch", status=403),
    "an unknown error": answer("SomethingNew"),
    "an endpoint that is none": ValueError("Invalid endpoint: x"),
    "a false certificate": below(
        sdk.SSLError(endpoint_url=URL, error="x"), ssl.SSLCertVerificationError(1, "self-signed")
    ),
}


@pytest.mark.parametrize("error", TRANSIENT.values(), ids=TRANSIENT)
def test_may_help_to_try_again(error: Exception) -> None:
    ours = as_queue_error(error, PLACE)
    assert isinstance(ours, QueueUnavailableError)
    assert PLACE in str(ours)


@pytest.mark.parametrize("error", REFUSED.values(), ids=REFUSED)
def test_is_no_use_to_try_again(error: Exception) -> None:
    ours = as_queue_error(error, PLACE)
    assert isinstance(ours, QueueRefusedError)
    assert not isinstance(ours, QueueMissingError | codes.MessageRefusedError)
    assert PLACE in str(ours)


@pytest.mark.parametrize("code", ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"])
def test_a_missing_queue_has_both_names(code: str) -> None:
    ours = as_queue_error(answer(code), PLACE)
    assert isinstance(ours, QueueMissingError)
    assert PLACE in str(ours)
    assert "create it with `cloud_tasks load_queue`" in str(ours)


@pytest.mark.parametrize("code", ["com.amazonaws.sqs#ReceiptHandleIsInvalid", "MessageNotInflight"])
def test_what_is_about_one_message_is_told_apart(code: str) -> None:
    assert isinstance(as_queue_error(answer(code), PLACE), codes.MessageRefusedError)


@pytest.mark.parametrize(
    ("code", "message", "sender_fault", "lost"),
    [
        ("ReceiptHandleIsInvalid", "", False, True),
        ("AWS.SimpleQueueService.MessageNotInflight", "", True, True),
        ("InvalidParameterValue", "Reason: The receipt handle has expired.", False, True),
        ("InvalidParameterValue", "something else", False, False),
        ("InvalidMessageContents", "", True, True),
        ("InternalError", "", False, False),
        ("RequestThrottled", "", True, False),
    ],
)
def test_a_failed_part_is_lost_or_worth_another_try(
    code: str, message: str, sender_fault: bool, lost: bool
) -> None:
    assert codes.is_lost(code, message, sender_fault=sender_fault) is lost


def test_missing_credentials_name_the_three_places() -> None:
    text = str(as_queue_error(sdk.NoCredentialsError(), PLACE))
    for part in ("AWS_ACCESS_KEY_ID", "~/.aws/credentials", "role"):
        assert part in text


def test_the_systems_own_reason_is_told() -> None:
    refused = below(
        sdk.EndpointConnectionError(endpoint_url=URL), ConnectionRefusedError(111, "no")
    )
    unknown = below(
        sdk.EndpointConnectionError(endpoint_url=URL), socket.gaierror(-2, "Name not known")
    )
    assert str(as_queue_error(refused, PLACE)) == f"{PLACE} can't be reached: no"
    assert str(as_queue_error(unknown, PLACE)).endswith("Name not known")
    assert "in time" in str(as_queue_error(sdk.ReadTimeoutError(endpoint_url=URL), PLACE))


SECRETS = {
    "the text about a signature": answer("SignatureDoesNotMatch", "x-amz-security-token:hush"),
    "the text about a header": answer("IncompleteSignature", "Authorization=hush"),
    "an endpoint's password": sdk.EndpointConnectionError(endpoint_url=URL),
    "the password of an endpoint that is none": ValueError(f"Invalid endpoint: {URL}["),
    "an endpoint's password, cut off": sdk.ConnectionClosedError(endpoint_url=URL),
}


@pytest.mark.parametrize("error", SECRETS.values(), ids=SECRETS)
def test_no_secret_is_told(error: Exception) -> None:
    assert "hush" not in str(as_queue_error(error, PLACE))


def test_the_password_of_an_endpoint_is_not_shown() -> None:
    assert Connection("http://me:hush@127.0.0.1:9/x").place("job") == (
        "SQS queue 'job' at http://127.0.0.1:9/x"
    )


def test_a_long_text_of_the_provider_is_cut() -> None:
    ours: QueueError = as_queue_error(answer("SomethingNew", "x\ny " * 1000), PLACE)
    assert "\n" not in str(ours)
    assert len(str(ours)) < 500


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True
    ).stdout


def test_importing_the_provider_loads_no_sdk() -> None:
    printed = run(
        "import sys\n"
        "from cloud_tasks.queues.sqs.provider import SqsProvider\n"
        "provider = SqsProvider()\n"
        "provider.queue('job').close(); provider.admin('job')\n"
        "print({'boto3', 'botocore', 'urllib3'} & set(sys.modules))\n"
    )
    assert printed == "set()\n"


def test_without_the_sdk_the_error_says_how_to_install_it() -> None:
    printed = run(
        "import sys\n"
        "sys.modules['boto3'] = None\n"
        "from cloud_tasks.errors import QueueRefusedError\n"
        "from cloud_tasks.queues.sqs.provider import SqsProvider\n"
        "try:\n"
        "    SqsProvider().queue('job').check()\n"
        "except QueueRefusedError as error:\n"
        "    print(error)\n"
    )
    assert printed == "SQS queue 'job' needs boto3: pip install 'cloud-tasks[aws]'\n"
