"""HTTP-date (RFC 9110 §5.6.7): three forms are read, one is written."""

from __future__ import annotations

import calendar
import functools
import re
import time

_MONTHS = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_MONTH = rb"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_TIME = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF = re.compile(_DAY + rb", ([0-9]{2}) " + _MONTH + rb" ([0-9]{4}) " + _TIME + rb" GMT")
_RFC850 = re.compile(_LONG_DAY + rb", ([0-9]{2})-" + _MONTH + rb"-([0-9]{2}) " + _TIME + rb" GMT")
_ASCTIME = re.compile(_DAY + rb" " + _MONTH + rb" ([0-9]{2}| [0-9]) " + _TIME + rb" ([0-9]{4})")
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LAST = calendar.timegm((9999, 12, 31, 23, 59, 59))


def parse_date(value: bytes, now: float) -> float | None:
    """Returns an HTTP-date in Unix seconds, or None if it is none. `now` decides the century of RFC 850's two digits:
    what seems more than 50 years ahead is past."""
    if match := _IMF.fullmatch(value):
        day, month, year, *clock = match.groups()
        return _unix(int(year), _MONTHS[month], int(day), clock)
    if match := _ASCTIME.fullmatch(value):
        month, day, *clock, year = match.groups()
        return _unix(int(year), _MONTHS[month], int(day), clock)
    if match := _RFC850.fullmatch(value):
        day, month, short, *clock = match.groups()
        this = time.gmtime(max(0.0, min(now, _LAST))).tm_year
        full = this - this % 100 + int(short)
        if full > this + 50:
            full -= 100
        return _unix(full, _MONTHS[month], int(day), clock)
    return None


def _unix(year: int, month: int, day: int, clock: list[bytes]) -> float | None:
    hour, minute, second = map(int, clock)
    if not (hour < 24 and minute < 60 and second <= 60):  # 60: a leap second
        return None
    if year < 1 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def format_date(unix: float) -> bytes:
    """Returns the IMF-fixdate of a time from 1970 to 9999; others become the nearest."""
    return _written(int(max(0.0, min(unix, _LAST))))


@functools.lru_cache(maxsize=16)
def _written(unix: int) -> bytes:
    moment = time.gmtime(unix)
    return (
        f"{_DAY_NAMES[moment.tm_wday]}, {moment.tm_mday:02} {_MONTH_NAMES[moment.tm_mon]} {moment.tm_year:04} "
        f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} GMT"
    ).encode()
