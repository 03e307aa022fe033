"""Draws configurations of mergekit, merges each with mergekit and with cuvee, and compares what they write.

    python parity/run.py [--seed 0] [--count 300] [--only 17] [--families llama,t5] [--environment DIR]

Compared are every tensor, the configuration and the tokenizer; how near tensors have to be depends on the method
(judge.py). Prints failures as they come, a line for each kind, method and family, and in the end how many passed; the
exit status is 1 if one failed. The files of failures are kept. mergekit is installed into an environment of its own the
first time.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from case import Case
from draw import KINDS, METHODS, draw
from families import FAMILIES
from pool import Pool
from reference import Reference
from verdicts import Outcome, decide, merge

ROOT = Path(__file__).resolve().parent.parent
PLACE = "mergekit-0.1.5"  # where benchmarks have it too
SHOWN = 3  # problems of a case that are printed


def read_options() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300, help="configurations to draw")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of single configurations")
    parser.add_argument("--families", default="", help="some only, such as: llama,t5")
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="where environment, models and outputs go")
    parser.add_argument("--environment", type=Path, help="environment that mergekit is in, or is installed into")
    parser.add_argument("--reference-only", action="store_true", help="hold mergekit to the specification; no cuvee")
    parser.add_argument("--keep", action="store_true", help="keep the files of what passes too")
    options = parser.parse_args()
    options.chosen = [name for name in options.families.split(",") if name] or list(FAMILIES)
    if unknown := set(options.chosen) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    return options


def environment(options: argparse.Namespace) -> Path:
    """Return mergekit's environment, made if it is missing."""
    place: Path = options.environment or options.folder / PLACE
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "mergekit.py", place], stdout=subprocess.PIPE, text=True, check=False
    )
    if made.returncode:
        sys.exit(made.returncode)
    versions = json.loads(made.stdout.splitlines()[-1])
    print("compared with", ", ".join(f"{name} {version}" for name, version in versions.items()), flush=True)
    return place


def outcomes(options: argparse.Namespace, folder: Path, place: Path) -> Iterator[tuple[Case, Outcome]]:
    """Merge and judge one case after another."""
    pool = Pool(folder / "models", options.seed)
    with Reference(place, folder / "adapted") as reference:
        for index in options.only or range(options.count):
            case = draw(options.seed, index, pool.root, options.chosen)
            pool.provide(case.models)
            own = folder / f"{index:04}"
            own.mkdir()
            config = own / "config.yml"
            config.write_text(case.text)
            there, here = own / "reference", own / "cuvee"
            refused = reference.merge(config, there, several=len(case.documents) > 1)
            ours = None if options.reference_only else (here, merge(config, here))
            outcome = decide(case, pool.find, (there, refused), ours)
            if not (outcome.problems or options.keep or options.only):
                shutil.rmtree(own)
            yield case, outcome


def say(options: argparse.Namespace, case: Case, outcome: Outcome, folder: Path) -> None:
    """Print what failed, and what is remarkable about the reference."""
    title = f"{case.index:4} {case.kind}{f' ({case.note})' if case.note else ''}, {case.method}, {case.family}"
    if outcome.problems:
        print(f"FAILED {title}")
        for problem in outcome.problems[:SHOWN]:
            print(f"    {problem}")
        if len(outcome.problems) > SHOWN:
            print(f"    and {len(outcome.problems) - SHOWN} more")
        print(f"    {folder / f'{case.index:04}' / 'config.yml'}")
        print(f"    again: make parity SEED={options.seed} ONLY={case.index}")
    if options.reference_only or options.only:
        if outcome.refused:
            print(f"refused {title}: {outcome.refused[:300]}")
        for remark in outcome.findings.remarks[:SHOWN]:
            print(f"remark {title}: {remark}")
    sys.stdout.flush()


def table(results: list[tuple[Case, Outcome]]) -> None:
    """Print a line for each kind, method and family."""
    passed, failed = Counter[str](), Counter[str]()
    for case, outcome in results:
        (failed if outcome.problems else passed).update((case.kind, case.method, case.family))
    for what, names in (("kind", KINDS), ("method", METHODS), ("family", tuple(FAMILIES))):
        for name in names:
            if passed[name] + failed[name]:
                print(f"{what:7} {name:17} {passed[name]:4} passed, {failed[name]:3} failed")
    judged = sum(outcome.findings.judged for _, outcome in results)
    tensors = sum(outcome.findings.tensors for _, outcome in results)
    refused = sum(outcome.refused is not None for _, outcome in results)
    remarks = sum(bool(outcome.findings.remarks) for _, outcome in results)
    print(f"{tensors} tensors compared, {judged} of them with float64 as well; the reference refused {refused} cases")
    if remarks:
        print(f"in {remarks} cases the reference is not what its specification says")


def main() -> int:
    """Run all cases; return the exit status."""
    options = read_options()
    place = environment(options)
    folder = options.folder.resolve() / "parity" / f"seed-{options.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models").mkdir(parents=True)
    began, results = time.monotonic(), []
    for case, outcome in outcomes(options, folder, place):
        results.append((case, outcome))
        say(options, case, outcome, folder)
    table(results)
    num_failed = sum(bool(outcome.problems) for _, outcome in results)
    if not num_failed and not (options.keep or options.only):
        shutil.rmtree(folder)
    print(f"{len(results)} configurations in {time.monotonic() - began:.0f} s")
    print(f"{len(results) - num_failed} passed, {num_failed} failed")
    return int(num_failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
