"""Whatever the class of an exception does, its name, its message and its frames are told."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import pytest

from cloud_tasks.events.tracebacks import summarise
from cloud_tasks.executors.common.call import describe, exit_code
from cloud_tasks.executors.common.exception_text import FAILED, Interruption, message_of

pytestmark = pytest.mark.interpreter


def fails(*args: Any) -> NoReturn:
    raise RuntimeError("no words")


class EvilText(str):
    __len__ = __getitem__ = __str__ = __format__ = fails


class EvilMeta(type):
    __repr__ = fails
    __name__ = property(fails)
    __module__ = property(fails)
    __eq__ = fails
    __hash__ = type.__hash__


CLASSES: dict[str, dict[str, Any]] = {
    "str raises": {"__str__": fails},
    "str is no text": {"__str__": lambda self: 5},
    "str recurses": {"__str__": lambda self: str(self)},
    "str exits": {"__str__": lambda self: sys.exit(3)},
    "str interrupts": {"__str__": lambda self: (_ for _ in ()).throw(KeyboardInterrupt)},
    "str and repr raise": {"__str__": fails, "__repr__": fails},
}
#: These have a message.
READABLE: dict[str, dict[str, Any]] = {
    "repr raises": {"__repr__": fails},
    "notes raise": {"__notes__": property(fails)},
    "notes are no list": {"__notes__": 5},
    "notes are evil": {"__notes__": [EvilText("note"), 5]},
    "cause raises": {"__cause__": property(fails)},
    "context raises": {"__context__": property(fails), "__suppress_context__": property(fails)},
    "traceback raises": {"__traceback__": property(fails)},
    "class lies": {"__class__": property(fails)},
    "args raise": {"args": property(fails)},
    "every attribute raises": {"__getattribute__": fails},
    "equality raises": {"__eq__": fails, "__hash__": None},
}


def described(error: BaseException) -> tuple[str, str, str]:
    name, message, text = json.loads(describe(error))
    return name, message, text


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - for its frame
    except BaseException as caught:  # noqa: BLE001 - it may be of any class
        return caught


@pytest.mark.parametrize(
    "base", [Exception, BaseException, OSError], ids=lambda base: base.__name__
)
@pytest.mark.parametrize("which", CLASSES)
def test_an_exception_without_words_keeps_its_frames(which: str, base: type[BaseException]) -> None:
    error = raised(type("Odd", (base,), CLASSES[which])("words"))
    name, message, text = described(error)
    assert (name, message) == ("Odd", FAILED)
    assert "in raised" in text
    assert text.rstrip().endswith(f"Odd: {FAILED}")
    assert summarise(text)[0] == f"Odd: {FAILED}"


@pytest.mark.parametrize("which", READABLE)
def test_an_exception_with_odd_attributes_keeps_message_and_frames(which: str) -> None:
    name, message, text = described(raised(type("Odd", (Exception,), READABLE[which])("words")))
    assert (name, message) == ("Odd", "words")
    assert "in raised" in text
    assert "Odd: words" in text


def test_a_message_with_odd_methods() -> None:
    evil = {"__str__": lambda self: EvilText("words")}
    _, message, text = described(raised(type("Odd", (Exception,), evil)("other")))
    assert message == "words"
    assert "in raised" in text


def test_an_odd_class_of_a_class() -> None:
    name, message, text = described(raised(EvilMeta("Odd", (Exception,), {})("words")))
    assert (name, message) == ("Odd", "words")
    assert "in raised" in text


def test_an_odd_exception_does_not_hide_what_led_to_it() -> None:
    error = type("Odd", (Exception,), {"__notes__": property(fails)})("second")
    error.__cause__ = raised(ValueError("first"))
    text = described(raised(error))[2]
    assert "ValueError: first" in text
    assert "Odd: second" in text


def test_a_chain_that_is_odd_at_its_beginning() -> None:
    odd = type("Odd", (Exception,), {"__cause__": property(fails)})
    error = KeyError("last")
    error.__cause__ = raised(odd("first"))
    text = described(raised(error))[2]
    assert "Odd: first" in text
    assert text.rstrip().endswith("KeyError: 'last'")
    assert "direct cause" in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no exception groups")
@pytest.mark.parametrize("odd", [{"__str__": fails}, {"__cause__": property(fails)}])
def test_members_of_a_group_are_told(odd: dict[str, Any]) -> None:
    group: Any = vars(sys.modules["builtins"])["ExceptionGroup"]
    members = [raised(type("Odd", (Exception,), odd)("words")), raised(ValueError("plain"))]
    text = described(raised(group("several", [group("inner", members)])))[2]
    assert "ValueError: plain" in text
    assert "Odd: " in text
    assert text.count("in raised") == 3


@pytest.mark.parametrize("name", ["lineno", "offset", "text", "filename", "end_lineno", "msg"])
@pytest.mark.parametrize("value", [[], "x", -5, 2**70], ids=repr)
def test_a_syntax_error_with_odd_fields(name: str, value: object) -> None:
    error = SyntaxError("words", ("file", 1, 1, "text", 1, 2))
    setattr(error, name, value)
    assert "SyntaxError" in described(raised(error))[2]


def test_a_message_that_no_encoding_has() -> None:
    error = UnicodeEncodeError("utf-8", "x\ud800", 1, 2, "surrogates not allowed")
    _, message, text = described(raised(error))
    assert "surrogates not allowed" in message
    assert "surrogates not allowed" in text
    assert described(raised(ValueError("x\ud800")))[1] == "x\ud800"


def test_a_chain_that_leads_back_to_itself_and_is_long() -> None:
    odd = type("Odd", (Exception,), {"__cause__": property(fails)})
    error: BaseException = raised(odd("0"))
    for n in range(3000):
        following = odd(str(n))
        BaseException.__dict__["__context__"].__set__(following, error)
        error = raised(following)
    assert "Odd: 2999" in described(error)[2]


def test_an_interruption_of_the_executor_is_not_swallowed() -> None:
    class Limit(Interruption):
        pass

    def interrupted(self: BaseException) -> str:
        raise Limit

    with pytest.raises(Limit):
        message_of(type("Odd", (Exception,), {"__str__": interrupted})())


@pytest.mark.parametrize(("code", "exit_status"), [(3, 3), (None, 0), ("words", 1), (True, 1)])
def test_an_exit_whose_code_is_hidden(code: object, exit_status: int) -> None:
    assert exit_code(type("Odd", (SystemExit,), {"code": property(fails)})(code)) == exit_status
