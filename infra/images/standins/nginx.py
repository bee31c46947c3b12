"""Entry point of the nginx stand-in: fills the templates in from the environment, then runs it.

As upstream's 20-envsubst-on-templates.sh: each *.template below /etc/nginx/templates is written to
/etc/nginx/conf.d without that ending, `$NAME` and `${NAME}` of variables that are set replaced,
and all others (nginx's own) left as they stand.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ENDING = ".template"
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def filled(text: str, environ: Mapping[str, str]) -> str:
    """`text` with the variables of `environ` put in."""
    return _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], found[0]), text)


def fill_templates(environ: Mapping[str, str]) -> None:
    """Raises OSError where they cannot be read, or the target cannot be written."""
    source = Path(environ.get("NGINX_ENVSUBST_TEMPLATE_DIR") or "/etc/nginx/templates")
    target = Path(environ.get("NGINX_ENVSUBST_OUTPUT_DIR") or "/etc/nginx/conf.d")
    for template in sorted(source.rglob(f"*{ENDING}")) if source.is_dir() else ():
        output = target / template.relative_to(source).with_suffix("")
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(filled(template.read_text(), environ))


def main() -> None:
    """Becomes the command."""
    command = sys.argv[1:] or ["nginx", "-g", "daemon off;"]
    if command[0] in ("nginx", "nginx-debug"):
        try:
            fill_templates(os.environ)
        except OSError as error:
            sys.exit(f"nginx stand-in: {error.filename}: {error.strerror}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
