"""Texts of flags and variables."""

from __future__ import annotations

import pytest

from cloud_tasks.settings import parse

pytestmark = pytest.mark.interpreter


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", "Yes", " on "])
def test_words_for_yes_are_true(word: str) -> None:
    assert parse.boolean(word) is True


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "FALSE", "No"])
def test_words_for_no_are_false(word: str) -> None:
    assert parse.boolean(word) is False


@pytest.mark.parametrize("word", ["2", "maybe", "y", "", "tru"])
def test_any_other_word_is_no_boolean(word: str) -> None:
    with pytest.raises(ValueError, match="is none of 1, true, yes, on, 0, false, no, off"):
        parse.boolean(word)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "abc", "", "10s"])
def test_seconds_are_finite_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of seconds"):
        parse.seconds()(text)


def test_zero_seconds_are_refused_where_they_make_no_sense() -> None:
    assert parse.seconds()("0") == 0.0
    with pytest.raises(ValueError, match="must be more than 0, not '0'"):
        parse.seconds(zero=False)("0")


def test_negative_seconds_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 0 or more, not '-1'"):
        parse.seconds()("-1")


def test_durations_that_overflow_timers_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 1000000000 or less"):
        parse.seconds()("1e300")


@pytest.mark.parametrize("text", ["1.5", "x", "", "9" * 10_000])
def test_counts_are_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        parse.whole(0)(text)


def test_counts_begin_where_they_make_sense() -> None:
    assert parse.whole(1)("1") == 1
    with pytest.raises(ValueError, match="must be 1 or more, not '0'"):
        parse.whole(1)("0")


@pytest.mark.parametrize("text", ["0", "-1"])
def test_no_slots_at_all_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        parse.count_or_auto(text)


def test_slots_are_a_number_or_auto() -> None:
    assert parse.count_or_auto("3") == 3
    assert parse.count_or_auto("AUTO") == "auto"
    with pytest.raises(ValueError, match="'many' is neither a whole number nor auto"):
        parse.count_or_auto("many")


def test_names_are_taken_in_any_case() -> None:
    provider = parse.one_of("AWS", "GCP", fold=str.upper)
    assert provider("Gcp") == "GCP"
    with pytest.raises(ValueError, match="'ibm' is none of AWS, GCP"):
        provider("ibm")


def test_errors_keep_control_characters_and_long_texts_off_the_terminal() -> None:
    with pytest.raises(ValueError, match="not a whole number") as error:
        parse.whole(0)("\x1b[31m" + "x" * 1000)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 130


def test_nothing_is_no_text() -> None:
    assert parse.text(" a ") == " a "
    with pytest.raises(ValueError, match="must not be empty"):
        parse.text("")
