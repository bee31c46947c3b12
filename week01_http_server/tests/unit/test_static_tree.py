"""Opening below one directory: nothing leads out of it, not even while it is being changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from week01_http_server.static.tree import LINKS_MAX, Tree

SECRET = b"secret"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "file").write_bytes(b"public")
    (root / "a" / "b" / "file").write_bytes(b"deep")
    return root


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    with Tree(root) as tree:
        yield tree


def content(tree: Tree, *names: str) -> bytes:
    fd = tree.open(names)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_files_are_opened(tree: Tree) -> None:
    assert content(tree, "file") == b"public"
    assert content(tree, "a", "b", "file") == b"deep"


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b")])
def test_directories_are_opened(tree: Tree, root: Path, names: tuple[str, ...]) -> None:
    fd = tree.open(names)
    try:
        assert os.path.samestat(os.fstat(fd), root.joinpath(*names).stat())
        assert fd != tree.fd
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("absent",), FileNotFoundError),
        (("a", "absent", "file"), FileNotFoundError),
        (("file", "x"), NotADirectoryError),
    ],
)
def test_what_is_not_there(tree: Tree, names: tuple[str, ...], error: type[OSError]) -> None:
    with pytest.raises(error):
        tree.open(names)


@pytest.mark.parametrize(
    ("link", "target", "asked"),
    [
        ("link", "file", ("link",)),
        ("link", "./a/../file", ("link",)),
        ("link", "a/b/", ("link", "..file")),
        ("a/link", "../file", ("a", "link")),
        ("a/b/link", "../../file", ("a", "b", "link")),
        ("dir", "a", ("dir", "b", "file")),
        ("a/up", "..", ("a", "up", "a", "b", "file")),
    ],
)
def test_links_that_stay_inside_are_followed(
    tree: Tree, root: Path, link: str, target: str, asked: tuple[str, ...]
) -> None:
    (root / "a" / "b" / "..file").write_bytes(b"odd name")
    (root / link).symlink_to(target)
    assert content(tree, *asked) == root.joinpath(*asked).read_bytes()


@pytest.mark.parametrize(
    ("link", "target", "asked"),
    [
        ("link", "../secret", ("link",)),
        ("link", "a/../../secret", ("link",)),
        ("link", "../root/file", ("link",)),  # out and in again: it was outside
        ("dir", "../outside", ("dir", "file")),
        ("a/b/dir", "../../../outside", ("a", "b", "dir", "file")),
        ("link", "/proc/self/environ", ("link",)),
        ("root", "/", ("root", "etc", "passwd")),
        ("loop", "loop", ("loop",)),
    ],
)
def test_links_that_lead_out_are_not_there(
    tree: Tree, root: Path, link: str, target: str, asked: tuple[str, ...]
) -> None:
    (root / link).symlink_to(target)
    with pytest.raises(FileNotFoundError):
        tree.open(asked)


def test_a_link_to_an_absolute_path_inside_is_not_there(tree: Tree, root: Path) -> None:
    (root / "link").symlink_to(root / "file")
    with pytest.raises(FileNotFoundError):
        tree.open(("link",))


def test_a_chain_of_links_has_an_end(tree: Tree, root: Path) -> None:
    (root / "0").symlink_to("file")
    for number in range(LINKS_MAX):
        (root / str(number + 1)).symlink_to(str(number))
    assert content(tree, str(LINKS_MAX - 1)) == b"public"
    with pytest.raises(FileNotFoundError):
        tree.open((str(LINKS_MAX),))


def test_a_fifo_does_not_stall(tree: Tree, root: Path) -> None:
    os.mkfifo(root / "fifo")
    os.close(tree.open(("fifo",)))


def test_no_descriptor_is_left_behind(tree: Tree, root: Path) -> None:
    (root / "dir").symlink_to("a/../a/b")
    (root / "out").symlink_to("a/b/../../../secret")
    before = os.listdir("/dev/fd")  # noqa: PTH208 - the names are wanted, not paths
    for names in [("dir", "file"), ("out",), ("a", "b", "absent"), ("file", "x"), ()]:
        for _ in range(5):
            try:
                os.close(tree.open(names))
            except OSError:
                continue
    assert len(os.listdir("/dev/fd")) == len(before)  # noqa: PTH208


def test_a_directory_swapped_for_a_link_meanwhile_leads_nowhere(tree: Tree, root: Path) -> None:
    """The race that resolving first and opening then loses."""
    inside = root / "swap"
    spare = root / "spare"
    inside.mkdir()
    (inside / "file").write_bytes(b"public")
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            inside.rename(spare)
            inside.symlink_to("../outside")
            inside.unlink()
            spare.rename(inside)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    refused = opened = 0
    try:
        while not (swaps >= 300 and refused and opened):
            try:
                seen.add(content(tree, "swap", "file"))
                opened += 1
            except (FileNotFoundError, NotADirectoryError):
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert seen == {b"public"}
