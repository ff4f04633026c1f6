"""What people type has one spelling, and nothing that only looks alike becomes the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier.codes import MalformedEmailError, normalise_digits, normalise_email


@pytest.mark.parametrize(
    ("typed", "spelt"),
    [
        (" Ada@Example.ORG\n", "ada@example.org"),
        ("ada+news@example.org", "ada+news@example.org"),  # a mailbox of its own
        ("a.d.a@example.org", "a.d.a@example.org"),
        ("JOSE\u0301@example.org", "jos\u00e9@example.org"),  # composed and decomposed
        ("jos\u00c9@example.org", "jos\u00e9@example.org"),
        ("ada@B\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher\u3002example", "ada@xn--bcher-kva.example"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example"),
        ("\u03a3\u03a3@example.org", "\u03c3\u03c2@example.org"),
    ],
)
def test_an_address_has_one_spelling(typed: str, spelt: str) -> None:
    assert normalise_email(typed) == spelt
    assert normalise_email(spelt) == spelt


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stra\u00dfe@example.org", "strasse@example.org"),
        ("ada@fa\u00df.example", "ada@fass.example"),
        ("\uff41da@example.org", "ada@example.org"),  # full width
        ("\u0131an@example.org", "ian@example.org"),  # dotless i
        ("\u0130an@example.org", "ian@example.org"),
        ("\u0430da@example.org", "ada@example.org"),  # Cyrillic a
        ("ada@g\u0131thub.example", "ada@github.example"),
    ],
)
def test_what_only_looks_alike_stays_another_address(one: str, other: str) -> None:
    assert normalise_email(one) != normalise_email(other)


@pytest.mark.parametrize(
    "typed",
    [
        *("", "ada", "@", "ada@", "@example.org", "ada@example", "ada@@example.org", "a@b@example.org"),
        *("ada @example.org", "ada\t@example.org", "a\u200bda@example.org", "ada\0@example.org"),
        *("ada@exam ple.org", "ada@-example.org", "ada@example-.org", "ada@example..org", "ada@.org"),
        *(
            "ada\n@example.org",
            "ada@example.org\r\nBcc: ben@example.org",
            '"a b"@example.org',
            "<ada@example.org>",
        ),
        *(
            "ada,ben@example.org",
            "ada@[127.0.0.1]",
            ".ada@example.org",
            "a..da@example.org",
            "ada.@example.org",
        ),
        *(f"{'a' * 65}@example.org", f"ada@{'a' * 64}.org", f"ada@{'a.' * 130}org", "ada@ex\u202eample.org"),
        *("ada@example\u2024org", "\ud800@example.org"),
    ],
    ids=ascii,
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(MalformedEmailError):
        normalise_email(typed)


@given(st.text(max_size=80))
def test_any_text_is_refused_or_has_a_spelling_that_is_its_own(text: str) -> None:
    for typed in (text, f"{text}@example.org", f"ada@{text}.org"):
        try:
            spelt = normalise_email(typed)
        except MalformedEmailError:
            continue
        assert normalise_email(spelt) == spelt
        assert len(spelt) <= 254
        assert spelt.count("@") == 1
        assert spelt.isprintable()
        assert not any(char.isspace() for char in spelt)
        assert spelt.rpartition("@")[2].isascii()


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("123456", "123456"),
        (" 123 456\n", "123456"),
        ("123-456", "123456"),
        ("123\u2013456", "123456"),
        ("\u200b12\u00a03456\ufeff", "123456"),
        ("\uff11\uff12\uff13456", "123456"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666", "123456"),
        ("12345\u00b2", ""),  # a superscript is no decimal digit
        ("12345O", ""),
        ("+123456", ""),
        ("123.456", ""),
        ("", ""),
        ("1" * 65, ""),
    ],
    ids=ascii,
)
def test_a_code_may_be_typed_in_many_ways(typed: str, digits: str) -> None:
    assert normalise_digits(typed) == digits


@given(st.text(max_size=80))
def test_whatever_is_typed_becomes_ascii_digits_or_nothing(text: str) -> None:
    digits = normalise_digits(text)
    assert not digits or (digits.isascii() and digits.isdigit())
    assert normalise_digits(digits) == digits
    if digits:
        assert len(digits) == sum(unicodedata.decimal(char, -1) >= 0 for char in text)
