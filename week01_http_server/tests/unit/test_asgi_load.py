"""Naming an app on the command line: what is found, and what is said when it is not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from week01_http_server.asgi.load import CannotLoad, load

MODULE = """
async def app(scope, receive, send): ...
class Holder:
    inner = staticmethod(app)
class Callable3:
    async def __call__(self, scope, receive, send): ...
class WithDefaults:
    def __call__(self, scope, receive=None, send=None): ...
class Old:
    def __init__(self, scope): ...
instance = Callable3()
with_defaults = WithDefaults()
def variadic(*args): ...
def factory(): return app
def factory_with_default(debug=False): return app
def bad_factory(name): return app
def empty_factory(): return None
def wsgi(environ, start_response): ...
number = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "asgi_load_sample.py").write_text(MODULE)
    (tmp_path / "asgi_load_needy.py").write_text("import asgi_load_surely_missing\n")
    (tmp_path / "asgi_load_broken.py").write_text("1 / 0\n")
    before = list(sys.path)
    yield str(tmp_path)
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("asgi_load_")]:
        del sys.modules[name]


@pytest.mark.parametrize("attribute", ["app", "Holder.inner", "instance", "with_defaults"])
def test_an_app_is_found(folder: str, attribute: str) -> None:
    assert callable(load(f"asgi_load_sample:{attribute}", app_dir=folder))


@pytest.mark.parametrize("attribute", ["factory", "factory_with_default"])
def test_a_factory_is_called(folder: str, attribute: str) -> None:
    app = load(f"asgi_load_sample:{attribute}", factory=True, app_dir=folder)
    assert getattr(app, "__name__", "") == "app"


def test_an_app_that_takes_anything_is_given_the_benefit_of_the_doubt(folder: str) -> None:
    assert callable(load("asgi_load_sample:variadic", app_dir=folder))


@pytest.mark.parametrize(
    ("name", "factory", "says"),
    [
        ("asgi_load_sample", False, 'is named "module:attribute"'),
        (":app", False, 'is named "module:attribute"'),
        ("asgi_load_sample:", False, 'is named "module:attribute"'),
        ("asgi_load_nowhere:app", False, 'no module "asgi_load_nowhere"'),
        ("asgi_load_nowhere.deep:app", False, 'no module "asgi_load_nowhere"'),
        (".relative:app", False, "no absolute module name"),
        ("asgi_load_sample:nothing", False, 'has no "nothing"'),
        ("asgi_load_sample:Holder.nothing", False, 'has no "Holder.nothing"'),
        ("asgi_load_sample:number", False, "cannot be called"),
        ("asgi_load_sample:wsgi", False, "WSGI"),
        ("asgi_load_sample:Old", False, "no ASGI 3 app"),
        ("asgi_load_sample:factory", False, "--factory"),
        ("asgi_load_sample:bad_factory", True, "needs 1 argument"),
        ("asgi_load_sample:number", True, "no factory"),
        ("asgi_load_sample:empty_factory", True, "NoneType"),
    ],
)
def test_a_mistake_gets_one_line(folder: str, name: str, factory: bool, says: str) -> None:
    with pytest.raises(CannotLoad) as caught:
        load(name, factory=factory, app_dir=folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(CannotLoad, match="does not exist"):
        load("main:app", app_dir="/nonexistent/folder")


def test_errors_of_the_module_itself_keep_their_traceback(folder: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="asgi_load_surely_missing"):
        load("asgi_load_needy:app", app_dir=folder)
    with pytest.raises(ZeroDivisionError):
        load("asgi_load_broken:app", app_dir=folder)
