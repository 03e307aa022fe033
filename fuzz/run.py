"""Feeds made-up files to every reader of files from elsewhere, guided by which lines of code they reach.

    python fuzz/run.py [--seconds 60] [--target header --target index ...] [--seed N] [--corpus DIR]

Each target has a process of its own, with a limit of memory, and of time for each input. Any exception but the errors
that are answers, any input that takes too long, and any that takes too much memory is a finding: it is written to
fuzz-findings/, and the exit status is 1. Needs Linux, and the extra `fuzz` (make fuzz installs it).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seeds import SEEDS

ROOT = Path(__file__).resolve().parent
LAST_LINES = 40  # of what a process with a finding has said
STATISTIC = "stat::number_of_executed_units:"


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of files from elsewhere.")
    parser.add_argument("--seconds", type=int, default=60, help="in all; each target takes its share (default: 60)")
    parser.add_argument("--target", action="append", choices=sorted(SEEDS), help="may be repeated; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="0, the default, takes another one each time")
    parser.add_argument("--corpus", type=Path, help="folder in which inputs that reach new lines are kept between runs")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder of findings")
    chosen = parser.parse_args()
    names = chosen.target or list(SEEDS)
    with tempfile.TemporaryDirectory() as folder:
        corpora = chosen.corpus or Path(folder)
        clean = [
            fuzz(name, corpora, chosen.findings, max(1, chosen.seconds // len(names)), chosen.seed) for name in names
        ]
    print(f"{clean.count(False)} of {len(names)} targets with findings.")
    return 0 if all(clean) else 1


def fuzz(name: str, corpora: Path, findings: Path, seconds: int, seed: int) -> bool:
    """Fuzz one target; return whether nothing was found."""
    corpus = corpora / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    began, before = time.monotonic(), set(findings.iterdir())
    command = [sys.executable, str(ROOT / "child.py"), name, str(corpus), str(findings), str(seconds), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = result.stderr.splitlines()
    runs = next((int(line.split()[-1]) for line in reversed(lines) if line.startswith(STATISTIC)), 0)
    found = sorted(set(findings.iterdir()) - before)
    verdict = "clean" if result.returncode == 0 and not found else f"exit status {result.returncode}"
    print(f"{name:12} {runs:>9,} inputs in {time.monotonic() - began:4.0f} s: {verdict}", flush=True)
    if verdict == "clean":
        return True
    said = [*result.stdout.splitlines(), *(line for line in lines if "Instrumenting" not in line)]
    print("\n".join(said[-LAST_LINES:]), *(f"written to {path}" for path in found), sep="\n", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
