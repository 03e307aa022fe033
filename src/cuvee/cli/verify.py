"""``cuvee verify``."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from cuvee.cli.lines import say
from cuvee.errors import CuveeError
from cuvee.execute.verify import verify
from cuvee.plan.limits import Limits

__all__ = ["run"]


class DifferenceError(CuveeError):
    """Something is not what was recorded."""


def run(out: Path, *, replay: bool, as_json: bool, limits: Limits) -> None:
    """Compare and print; fail if anything differs."""
    findings = verify(out, replay=replay, limits=limits)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        console = Console(emoji=False)
        width = max(len(finding.part) for finding in findings)
        for finding in findings:
            say(console, f"{finding.part:<{width}}  {finding.state}{'  ' if finding.text else ''}{finding.text}")
    wrong = [finding.part for finding in findings if finding.state != "same"]
    if wrong:
        raise DifferenceError(f"not as recorded: {', '.join(wrong)}.")
