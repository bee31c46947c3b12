"""Finds the ASGI app that a command line names, and says in one line what is wrong with a name."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import cast

from week01_http_server.asgi.types import ASGIApp


class CannotLoad(Exception):
    """The named app cannot be served; the text is one line for the person who named it."""


def load(name: str, *, factory: bool = False, app_dir: str | None = "") -> ASGIApp:
    """The ASGI app that `name` stands for.

    Args:
        name: "module:attribute"; both parts may be dotted ("shop.main:site.app").
        factory: the attribute is a callable without arguments that returns the app.
        app_dir: folder put first on the import path; "" is the current one, None leaves it alone.

    Raises:
        CannotLoad: with one line that says what to do. Errors that the module itself raises
            while it is imported pass through: their traceback is what its author needs.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise CannotLoad(f'an app is named "module:attribute", like "main:app"; got "{name}"')
    if app_dir is not None:
        folder = Path(app_dir).resolve()
        if not folder.is_dir():
            raise CannotLoad(f'the app folder "{app_dir}" does not exist')
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    found = _attribute(_module(module_name), module_name, attribute)
    if factory:
        found = _made_by(found, name)
    _judge(found, name)
    return cast(ASGIApp, found)


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that is there but misses one of its own imports is its author's error.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise CannotLoad(
                f'there is no module "{error.name}" here: is it installed, '
                "or in the current folder (else --app-dir)?"
            ) from None
        raise
    except (TypeError, ValueError) as error:
        if name.startswith(".") or not name.strip("."):
            raise CannotLoad(f'"{name}" is no absolute module name') from error
        raise


def _attribute(module: object, module_name: str, path: str) -> object:
    found = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CannotLoad(f'module "{module_name}" has no "{path}"') from None
    return found


def _made_by(factory: object, name: str) -> object:
    if not callable(factory):
        raise CannotLoad(f'"{name}" is no factory: {type(factory).__name__} cannot be called')
    needed = _needed_arguments(factory)
    if needed is not None and needed > 0:
        raise CannotLoad(f'"{name}" is no factory: it needs {needed} argument(s), not none')
    return factory()


def _judge(app: object, name: str) -> None:
    if not callable(app):
        raise CannotLoad(f'"{name}" is {type(app).__name__}, which cannot be called: no ASGI app')
    needed = _needed_arguments(app)
    if needed is None or needed == 3:
        return
    if needed == 0 and not inspect.isclass(app) and not _takes(app, 3):
        raise CannotLoad(f'"{name}" takes no arguments: a factory? Then add --factory')
    if needed == 2 and not _takes(app, 3):
        raise CannotLoad(
            f'"{name}" takes two arguments, so it is a WSGI app; ASGI apps take scope, receive '
            "and send (a2wsgi or asgiref.wsgi can wrap it)"
        )
    if needed == 1 and not _takes(app, 3):
        raise CannotLoad(
            f'"{name}" takes one argument, so it is no ASGI 3 app; ASGI apps take scope, receive '
            "and send (asgiref.compatibility can wrap one of ASGI 2)"
        )


def _signature(app: object) -> inspect.Signature | None:
    try:
        return inspect.signature(app)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None  # C callables need not tell


def _needed_arguments(app: object) -> int | None:
    signature = _signature(app)
    if signature is None:
        return None
    return sum(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in signature.parameters.values()
    )


def _takes(app: object, count: int) -> bool:
    signature = _signature(app)
    if signature is None:
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
