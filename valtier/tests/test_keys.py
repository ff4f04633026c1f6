"""Keys can't be forged from arguments, and templates are checked where they are written."""

import enum
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier import ConfigurationError
from valtier.keys import Template, check, encode


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "a\x00b", "x" * 513, "tab\t", 5, None, b"bytes"])
def test_a_key_that_can_make_trouble_is_refused(key: object) -> None:
    with pytest.raises(ConfigurationError):
        check(key)  # type: ignore[arg-type]


def test_a_template_renders_its_fields() -> None:
    template = Template("user:{user_id}:{part}", names=["user_id", "part"])
    assert template.render({"user_id": 42, "part": "name"}) == "user:42:name"


@pytest.mark.parametrize(
    "text",
    [
        "user:{id}",
        "user:{user_id!r}",
        "user:{user_id:>5}",
        "user:{user_id",
        "user:{}",
        "user:{user_id.x}",
        "",
    ],
)
def test_a_template_that_names_no_parameter_is_refused_when_it_is_written(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Template(text, names=["user_id"])


arguments = st.text() | st.none() | st.booleans()


@given(arguments, arguments, arguments, arguments, st.sampled_from([":", "/", "-:", ",x"]))
def test_different_arguments_never_make_the_same_key(
    a: object, b: object, c: object, d: object, between: str
) -> None:
    template = Template(f"k:{{a}}{between}{{b}}", names=["a", "b"])
    try:
        same = template.render({"a": a, "b": b}) == template.render({"a": c, "b": d})
    except ConfigurationError:  # too long
        return
    assert same == ((a, b) == (c, d))


@pytest.mark.parametrize("text", ["k:{a}{b}", "k:{a}-{b}", "k:{a}x{b}", "k:{a}%{b}"])
def test_fields_that_run_into_each_other_are_refused(text: str) -> None:
    """("x", "yz") and ("xy", "z") would be one key, and one user would get what is another's."""
    with pytest.raises(ConfigurationError, match="between"):
        Template(text, names=["a", "b"])


def test_values_with_one_obvious_spelling_are_taken() -> None:
    some_id = uuid.uuid4()
    given_values = [True, None, 7, some_id, Colour.RED, "a:b"]
    assert [encode(value) for value in given_values] == ["!true", "!null", "7", str(some_id), "red", "a%3Ab"]


@pytest.mark.parametrize("value", [1.5, [], {}, object(), b"x"])
def test_values_without_one_are_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=type(value).__name__):
        encode(value)
