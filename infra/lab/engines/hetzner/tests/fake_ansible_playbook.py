"""Takes ansible-playbook's place: tells what `script.json` beside it says, writes down its words.

script.json: {playbook name: {"events": [...], "print": "...", "status": 0, "hangs": false}}; a
playbook that it does not name does nothing on the host `one` and succeeds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

HANG_S = 60.0
NOTHING = {"events": [{"event": "ok", "host": "one", "name": "Nothing", "changed": False}]}


def main() -> int:
    folder = Path(__file__).parent
    name = Path(sys.argv[3]).name
    extra = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    with (folder / "runs.jsonl").open("a") as runs:
        runs.write(json.dumps({"playbook": name, "extra": extra, "inventory": sys.argv[2]}) + "\n")
    script = json.loads((folder / "script.json").read_text()).get(name, NOTHING)
    with os.fdopen(int(os.environ["LAB_EVENTS_FD"]), "w") as out:
        for event in script["events"]:
            out.write(json.dumps(event) + "\n")
            out.flush()
        print(script.get("print", "PLAY RECAP"), flush=True)
        if script.get("hangs"):
            time.sleep(HANG_S)
    return int(script.get("status", 0))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        Path(__file__).with_name("interrupted").touch()
        sys.exit(130)
