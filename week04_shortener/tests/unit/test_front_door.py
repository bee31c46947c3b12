"""The front door lets through what the replicas take and give: its limits are not below theirs."""

import re
from pathlib import Path

from annotated_types import Le

from week04_shortener.api.routes import BULK_LINK_BYTES
from week04_shortener.settings import Settings

TEXT = (Path(__file__).parents[2] / "config/nginx/shortener.conf").read_text()
UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}

OTHER_HEADERS_BYTES = 1024
"""All but the Location: an answer's own, and the server's, have a third of it."""


def sizes(directive: str) -> list[int]:
    """What stands behind `directive`, in the order of the file, bytes."""
    found = re.findall(rf"^\s*{directive}\s+(\d+)([km]?);", TEXT, re.MULTILINE)
    return [int(number) * UNITS[unit] for number, unit in found]


def default(name: str) -> int:
    value = Settings.model_fields[name].default
    assert isinstance(value, int)
    return value


def test_the_longest_target_fits_into_the_buffer_for_headers() -> None:
    """Or nginx answers 502: "upstream sent too big header"."""
    bounds = Settings.model_fields["max_url_chars"].metadata
    [longest] = [bound.le for bound in bounds if isinstance(bound, Le)]
    [buffer_bytes] = sizes("proxy_buffer_size")
    assert isinstance(longest, int)
    assert buffer_bytes >= longest + OTHER_HEADERS_BYTES


def test_bodies_that_the_replicas_take_pass_and_no_larger_ones() -> None:
    """A replica that refused a larger one would close, and its answer could be lost over that."""
    one, many, file, *of_errors = sizes("client_max_body_size")
    assert one == default("max_body_bytes")
    assert many == default("max_bulk_links") * (default("max_url_chars") + BULK_LINK_BYTES)
    assert file == default("max_import_bytes")
    assert of_errors == [0, 0]
