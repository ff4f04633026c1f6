"""Settings: what the environment may say, and what is told when it says something else."""

from pathlib import Path

import pytest

from fluxstudio.settings import Settings, SettingsError

URL = "postgresql://flux:secret@db.example:5432/flux"


def read(**environ: str) -> Settings:
    return Settings.from_env({"DATABASE_URL": URL} | environ)


def test_only_the_database_has_to_be_told() -> None:
    settings = read()
    assert settings == Settings(database_url=URL)
    assert settings.use_redis
    assert settings.secure_cookies
    assert settings.session_ttl_s == 24 * 3600


def test_everything_can_be_told() -> None:
    assert read(
        REDIS_URL="rediss://cache.example:25061",
        USE_REDIS="false",
        SECURE_COOKIES="0",
        SESSION_TTL="7d",
        DB_POOL_SIZE="25",
        WARM_KEYS="0",
        WARM_SECONDS="3",
        FLUXSTUDIO_STATS_DIR="/run/stats",
        LOG_JSON="Yes",
    ) == Settings(
        database_url=URL,
        redis_url="rediss://cache.example:25061",
        use_redis=False,
        secure_cookies=False,
        session_ttl_s=7 * 86_400,
        pool_size=25,
        warm_keys=0,
        warm_s=3.0,
        stats_dir=Path("/run/stats"),
        log_json=True,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("365d", 31_536_000)]
)
def test_a_duration_is_in_seconds_or_has_a_unit(text: str, seconds: int) -> None:
    assert read(SESSION_TTL=text).session_ttl_s == seconds


def test_what_is_empty_is_not_set() -> None:
    assert read(REDIS_URL="", USE_REDIS=" ", SESSION_TTL="", FLUXSTUDIO_STATS_DIR="") == read()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DATABASE_URL", "", "DATABASE_URL is not set"),
        ("DATABASE_URL", "mysql://u:secret@h/d", "no PostgreSQL URL"),
        ("DATABASE_URL", "postgresql://[u:secret@h/d", "no PostgreSQL URL"),
        ("USE_REDIS", "maybe", "USE_REDIS is 'maybe'; set it to true or false"),
        ("SESSION_TTL", "0", "SESSION_TTL is '0'"),
        ("SESSION_TTL", "1 day", "SESSION_TTL is '1 day'"),
        ("SESSION_TTL", "-5", "SESSION_TTL is '-5'"),
        ("SESSION_TTL", "366d", "to 365d at most"),
        ("SESSION_TTL", "31536001", "to 365d at most"),
        ("SESSION_TTL", "999999999d", "to 365d at most"),
        ("REDIS_URL", "http://:secret@x", "REDIS_URL can't be used"),
        ("REDIS_URL", "redis://:secret@x:99999", "or set USE_REDIS to false"),
        ("DB_POOL_SIZE", "0", "a number from 1 to 1000"),
        ("DB_POOL_SIZE", "ten", "a number from 1 to 1000"),
        ("WARM_KEYS", "-1", "a number from 0 to 5000"),
        ("WARM_SECONDS", "0", "a number from 1 to 600"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_password(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        read(**{name: value})
    assert "secret" not in str(caught.value)


def test_a_redis_url_that_is_not_used_may_be_anything() -> None:
    assert not read(REDIS_URL="http://x", USE_REDIS="false").use_redis


def test_settings_do_not_show_passwords() -> None:
    assert "secret" not in repr(read(REDIS_URL="redis://:secret@h"))


GIVEN = {"DATABASE_URL": "postgresql://x/y"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FLUXSTUDIO_URL", "studio.example.org", "address"),
        ("FLUXSTUDIO_URL", "https://studio.example.org/path", "address"),
        ("FLUXSTUDIO_URL", "https://user@studio.example.org", "address"),
        ("FLUXSTUDIO_URL", "http://studio.example.org", "https"),
        ("SMTP_URL", "mail.example.org", "SMTP_URL"),
        ("SMTP_URL", "smtp://mail.example.org?tls=no", "SMTP_URL"),
        ("SECRETS_KEY", "hunter2", "32 characters"),
        ("SECRETS_KEY", "a" * 32 + ",hunter2", "32 characters"),
        ("MAIL_FROM", "FluxStudio", "MAIL_FROM"),
        ("MAIL_FROM", "studio@example.org\nBcc: eve@example.org", "MAIL_FROM"),
        ("MAILBOX_DIR", "/somewhere", "development"),
        ("API_LIMIT", "many", "API_LIMIT"),
        ("TRUSTED_PROXIES", "*", "TRUSTED_PROXIES"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy", "TRUSTED_PROXIES"),
    ],
)
def test_settings_of_accounts_that_cannot_be_are_told(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.from_env({**GIVEN, name: value})


def test_settings_of_accounts() -> None:
    settings = Settings.from_env(
        {
            **GIVEN,
            "FLUXSTUDIO_URL": "https://studio.example.org:8443/",
            "SMTP_URL": "smtps://user:hunter2@mail.example.org",
            "MAIL_FROM": "Studio <studio@example.org>",
            "API_LIMIT": "off",
            "SECRETS_KEY": f"{'b' * 32}, {'a' * 32}",
            "TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
        }
    )
    assert settings.base_url == "https://studio.example.org:8443"
    assert settings.secrets_keys == ("b" * 32, "a" * 32)
    assert "bbbb" not in repr(settings)
    assert settings.api_limit is None
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1")
    assert "hunter2" not in repr(settings)
    assert Settings.from_env(GIVEN).api_limit == "100/minute"
