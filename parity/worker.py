"""Runs in mergekit's environment: merges what it is asked to, one configuration after another.

    ENVIRONMENT/bin/python parity/worker.py

Each line of standard input is one request: ``{"command": "mergekit-yaml", "arguments": [...]}``, the arguments as a
person would give them. Each line of standard output is the answer: ``{"error": null}``, or what was raised. Starting
mergekit takes seconds; this way that is paid once. Knows nothing about cuvee.
"""

import contextlib
import importlib.metadata
import io
import json
import logging
import os
import sys
import warnings
from typing import Any

COMMANDS = {
    point.name: point
    for point in importlib.metadata.entry_points(group="console_scripts")
    if point.name in ("mergekit-yaml", "mergekit-multi")
}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    commands = {name: point.load() for name, point in COMMANDS.items()}
    answers.write(json.dumps({"ready": sorted(commands)}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            error = run(commands[request["command"]], request["arguments"])
        answers.write(json.dumps({"error": error}) + "\n")


def run(command: Any, arguments: list[str]) -> str | None:
    """Run a command; return what it raised, as text, or None."""
    try:
        command.main(args=arguments, standalone_mode=False)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main()
