import pytest
from prometheus_client import generate_latest

from week01_http_server.exchange import Peer
from week01_http_server.journal import Entry
from week01_http_server.messages import Request
from week01_http_server.metrics import BOUNDS_S, Figures, Meter, registry_of

PEER = Peer(None, None, False)


def answered(method: str, status: int, seconds: float = 0.002, size: int = 100) -> Entry:
    sent = Request(method, b"/", b"/", b"", b"", "1.1", [], True, False, None, False, None)
    return sent, PEER, status, size, seconds, 0.0


def refused(status: int) -> Entry:
    return None, PEER, status, 50, 0.0, 0.0


def scraped(figures: Figures) -> dict[str, float]:
    """All samples, by name and labels."""
    text = generate_latest(registry_of(figures)).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture
def figures() -> Figures:
    return Figures()


def test_counts_of_all_workers_are_added_up(figures: Figures) -> None:
    for worker in (1, 2):
        meter = Meter(figures.share(worker), lambda: (3, 10, 1))
        meter([answered("GET", 200), answered("GET", 204), answered("POST", 404), refused(400)])
        meter.publish()
    samples = scraped(figures)
    assert samples["http_workers"] == 2
    assert samples["http_connections_open"] == 6
    assert samples["http_connections_accepted_total"] == 20
    assert samples["http_access_log_lost_lines_total"] == 2
    assert samples['http_requests_total{method="GET",status="2xx"}'] == 4
    assert samples['http_requests_total{method="POST",status="4xx"}'] == 2
    assert samples['http_refused_total{status="400"}'] == 2
    assert samples["http_response_bytes_total"] == 700
    assert samples["http_request_duration_seconds_count"] == 6
    assert samples["http_request_duration_seconds_sum"] == pytest.approx(0.012)


def test_a_dead_worker_keeps_its_counts_and_loses_its_connections(figures: Figures) -> None:
    meter = Meter(figures.share(1), lambda: (3, 10, 0))
    meter([answered("GET", 200)])
    meter.publish()
    figures.fold(1)
    samples = scraped(figures)
    assert samples["http_workers"] == 0
    assert samples["http_connections_open"] == 0
    assert samples["http_connections_accepted_total"] == 10
    assert samples['http_requests_total{method="GET",status="2xx"}'] == 1


@pytest.mark.parametrize("status", [0, 100, 299, 503, 599, 999])
@pytest.mark.parametrize("method", ["GET", "PATCH", "BREW"])
def test_each_request_is_counted_once_under_its_own_name(
    figures: Figures, method: str, status: int
) -> None:
    meter = Meter(figures.share(1), lambda: (0, 0, 0))
    meter([answered(method, status)])
    meter.publish()
    samples = scraped(figures)
    labels = (
        f'{{method="{"other" if method == "BREW" else method}",'
        f'status="{f"{status // 100}xx" if status else "none"}"}}'
    )
    counted = {name: value for name, value in samples.items() if "requests_total" in name}
    assert counted == {f"http_requests_total{labels}": 1}
    assert not any("refused" in name for name in samples)
    assert samples["http_connections_open"] == 0


@pytest.mark.parametrize("status", [408, 503, 505, 418])
def test_each_refusal_is_counted_once_and_is_no_request(figures: Figures, status: int) -> None:
    meter = Meter(figures.share(1), lambda: (0, 0, 0))
    meter([refused(status)])
    meter.publish()
    samples = scraped(figures)
    counted = {name: value for name, value in samples.items() if "refused_total" in name}
    assert counted == {f'http_refused_total{{status="{status if status != 418 else "other"}"}}': 1}
    assert samples["http_request_duration_seconds_count"] == 0


def test_durations_fall_into_the_bucket_whose_bound_they_do_not_exceed(figures: Figures) -> None:
    meter = Meter(figures.share(1), lambda: (0, 0, 0))
    meter([answered("GET", 200, seconds) for seconds in (0.0, *BOUNDS_S, 99.0)])
    meter.publish()
    samples = scraped(figures)
    for place, bound in enumerate(BOUNDS_S):
        assert samples[f'http_request_duration_seconds_bucket{{le="{bound}"}}'] == place + 2
    whole = len(BOUNDS_S) + 2
    assert samples['http_request_duration_seconds_bucket{le="+Inf"}'] == whole
    assert samples["http_request_duration_seconds_count"] == whole
