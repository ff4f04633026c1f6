"""URLs are read as people write them, and no password is ever shown."""

import traceback

import pytest

from valtier import ConfigurationError
from valtier.wire import Address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", Address("h")),
        ("valkey://h:7000/3", Address("h", 7000, database=3)),
        ("redis://:p%40ss@h", Address("h", password="p@ss")),
        ("valkeys://ann:pw@h:25061", Address("h", 25061, tls=True, username="ann", password="pw")),
        ("REDISS://H", Address("h", tls=True)),
        ("redis://[::1]:6380/", Address("::1", 6380)),
        ("unix:///run/valkey.sock", Address(path="/run/valkey.sock")),
    ],
)
def test_a_url_is_read(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:hunter2@h",
        "redis://",
        "redis://:hunter2@h:port",
        "redis://:hunter2@h:99999",
        "redis://:hunter2@h/zero",
        "redis://:hunter2@h/-1",
        "redis://:hunter2@h?ssl=no",
        "redis://:hunter2@[::1",
        "unix://",
        "redis://:hunter2@h/²",
        "redis://:hunter2@foo..bar",
        "redis://hunter2@h",
        "redis://:hunter2\u2100@h",
        "unix://run/x.sock",
        f"redis://:hunter2@{'x' * 64}.example",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Address.parse(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace(url, "")


def test_an_address_prints_without_its_password() -> None:
    address = Address.parse("rediss://ann:hunter2@h:1/2")
    assert str(address) == "rediss://h:1/2"
    assert "hunter2" not in repr(address)


def test_tls_verifies_certificate_and_host_name() -> None:
    context = Address.parse("rediss://h").ssl_context()
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert Address.parse("redis://h").ssl_context() is None
