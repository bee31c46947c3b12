"""What this week's bench adds to the common one, and that README, report and results agree."""

from __future__ import annotations

from benchmarks.contest import publish
from infra.bootstrap import clone_root
from week01_http_server.bench.about import CONTEST, among_asgi


def test_the_clone_itself_holds_together() -> None:
    assert publish.held_together(CONTEST, clone_root()) == []


def test_asgi_servers_are_compared_with_each_other() -> None:
    bench = publish.published(CONTEST, clone_root())
    assert bench is not None
    said = among_asgi(bench, "hello")
    assert said.startswith("With the same ASGI app: ") and "granian's and" in said
    assert among_asgi(bench, "10 KB file") == "" == among_asgi(bench, bench.open_loop[0])
