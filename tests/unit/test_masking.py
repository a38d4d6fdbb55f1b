"""What counts as a secret, wherever it stands, and what does not."""

from __future__ import annotations

import pytest

from cloud_tasks.masking import MASK, is_secret_name, masked, masked_value, masked_words

#: Texts with the one secret in each.
SECRETS = {
    "https://s3.example/t.json?X-Amz-Date=1&X-Amz-Signature=5ec2e7&X-Amz-Expires=9": "5ec2e7",
    "https://s3.example/t.json?X-Amz-Credential=AKIA5ec2e7%2F2026&x=1": "AKIA5ec2e7",
    "https://s3.example/t.json?X-Amz-Security-Token=5ec2e7": "5ec2e7",
    "https://s3.example/t.json?AWSAccessKeyId=AK5ec2e7&Expires=1": "AK5ec2e7",
    "https://s3.example/t.json?Expires=1&Signature=5ec2e7%3D": "5ec2e7",
    "https://storage.example/b/o?X-Goog-Algorithm=G&X-Goog-Signature=5ec2e7": "5ec2e7",
    "https://x.blob.example/c/t.json?sv=2026&sp=r&sig=5ec2e7%2B%3D": "5ec2e7",
    "https://h.example/t.json?token=5ec2e7#top": "5ec2e7",
    "https://h.example/t.json?access_token=5ec2e7": "5ec2e7",
    "https://h.example/t.json?key=AIza5ec2e7": "AIza5ec2e7",
    "https://h.example/?url=https%3A%2F%2Fs3%2Ft%3FX-Amz-Signature%3D5ec2e7%26y=1": "5ec2e7",
    "HTTPS://user:5ec2e7@h.example/t.json": "5ec2e7",
    "redis://:5ec2e7@h.example:6379/0": "5ec2e7",
    "https://5ec2e7@github.example/x": "5ec2e7",
    "amqp://user:5ec2e7%40x@h:1/": "5ec2e7",
    "redis://user:5e/c2#e7?@h:6379/0": "5e/c2#e7?",
    "no answer from http://proxy:5ec2e7@10.0.0.1:3128: timed out": "5ec2e7",
    "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=5ec2e7=": "5ec2e7",
    "DefaultEndpointsProtocol=https;AccountName=n;AccountKey=5ec2e7==;x=y": "5ec2e7",
    "GET /t.json?sig=5ec2e7 HTTP/1.1": "5ec2e7",
    "{'password': '5ec2e7', 'user': 'me'}": "5ec2e7",
    '{"api_key": "5ec2e7"}': "5ec2e7",
    "Authorization: Bearer 5ec2e7": "5ec2e7",
    "DB_PASSWORD=5ec2e7": "5ec2e7",
}

HARMLESS = [
    "",
    "tasks.json",
    "https://h.example:8080/a/@b/tasks.json?X-Amz-Date=1&page=2&sort_key=b",
    "s3://bucket/tasks.json",
    "127.0.0.1:8085",
    "the task 'a@b' took 3 s: exit code 1",
    "token count: 7, tokens=5, --key=name, author=me",
    "mail me@example.org, see http://h.example",
    "http://h.example:8080/ and you@example.org",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_masked_and_all_around_it_stays(text: str) -> None:
    shown = masked(text)
    assert SECRETS[text] not in shown
    assert MASK in shown
    assert masked(shown) == shown
    assert masked(f"before {text} after").startswith("before ")
    assert masked(f"before {text} after").endswith(" after")


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert masked(text) == text


def test_the_place_of_an_address_stays_readable() -> None:
    assert masked("https://me:pw@h.example/a/t.json?page=2&sig=x&z=1") == (
        f"https://{MASK}@h.example/a/t.json?page=2&sig={MASK}&z=1"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("--password", "--db-password", "--api-key", "--apikey", "--token", "--secret", "--pass"),
        *("--auth-token", "--client-secret", "--private_key", "--basic-auth", "AWSAccessKeyId"),
        *("AWS_SECRET_ACCESS_KEY", "secretKey", "--connection-string", "X-Goog-Signature", "sig"),
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("--key", "--sort-key", "--password-file", "--token-url", "--max-tokens", "--author"),
        *("--token-count", "--secret-name", "--signal", "SharedAccessKeyName", "--passes", ""),
        *("--num-simultaneous-tasks", "--task-file", "--project-id", "X-Amz-SignedHeaders"),
    ],
)
def test_names_of_other_things_are_not(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--password", "pw", "in.csv"], ["--password", MASK, "in.csv"]),
        (["--password=pw", "in.csv"], [f"--password={MASK}", "in.csv"]),
        (["--passw", "pw"], ["--passw", MASK]),
        (["--token", "--debug"], ["--token", "--debug"]),
        (["--no-password", "in.csv"], ["--no-password", "in.csv"]),
        (["--use-token", "in.csv"], ["--use-token", "in.csv"]),
        (["--password-file", "pw.txt"], ["--password-file", "pw.txt"]),
        (["--task-file", "https://h/t?sig=x"], ["--task-file", f"https://h/t?sig={MASK}"]),
        (["--task-file=https://u:p@h/t"], [f"--task-file=https://{MASK}@h/t"]),
        (["--db", '{"password": "x"}'], ["--db", f'{{"password": "{MASK}"}}']),
        (["--key", "name"], ["--key", "name"]),
    ],
    ids=str,
)
def test_values_of_secret_flags_are_masked(words: list[str], shown: list[str]) -> None:
    command = ["python", "program.py"]
    assert masked_words([*command, *words]) == [*command, *shown]


def test_values_of_settings_are_masked_by_name_and_by_content() -> None:
    assert masked_value("secret_key", "x") == MASK
    assert masked_value("secret_key", None) is None
    assert masked_value("endpoint_url", "http://u:p@h") == f"http://{MASK}@h"
    assert masked_value("task_id", ("a", "token=b")) == ("a", f"token={MASK}")
    assert masked_value("max_runtime", 5.0) == 5.0
