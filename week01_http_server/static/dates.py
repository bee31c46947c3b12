"""HTTP's dates (RFC 9110, section 5.6.7): one form is written, three are read."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime
from email.utils import formatdate

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_SHORT = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_FORMS = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"{_SHORT}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",  # IMF-fixdate
        rf"{_LONG}, (?P<day>\d\d)-{_MONTH}-(?P<short_year>\d\d) {_TIME} GMT",  # RFC 850
        rf"{_SHORT} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",  # asctime
    )
)


def http_date(time_s: float) -> bytes:
    """IMF-fixdate of a Unix time in seconds; fractions are cut off."""
    return formatdate(int(time_s), usegmt=True).encode("ascii")


def parse_http_date(value: bytes, now_s: float) -> int | None:
    """Unix time in seconds of a date in any of the three forms, or None.

    Args:
        value: the field's value; the name of the weekday is not compared with the date.
        now_s: a two-digit year that would be more than 50 years ahead of it is in the past.
    """
    text = value.decode("latin-1")
    for form in _FORMS:
        if match := form.fullmatch(text):
            return _time_of(match.groupdict(), now_s)
    return None


def _time_of(parts: dict[str, str], now_s: float) -> int | None:
    if "short_year" in parts:
        this_year = datetime.fromtimestamp(now_s, UTC).year
        year = this_year - this_year % 100 + int(parts["short_year"])
        year -= 100 * (year > this_year + 50)
    else:
        year = int(parts["year"])
    second = int(parts["second"])
    try:
        moment = datetime(
            year,
            _MONTHS[parts["month"]],
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            second - (second == 60),  # a leap second, which Unix time does not have
        )
    except ValueError:
        return None
    return timegm(moment.timetuple())
