"""Writes the configurations that the test suite merges, and what mergekit makes of them.

    python parity/store.py [--environment DIR]

Draws from one seed and keeps what adds a method, or a kind or family that has not its share yet: about forty cases,
less than 2 MB. Adapters are left out: the library that puts them on takes longer to import than all else takes to run.
"""

import argparse
import shutil
from collections import Counter
from pathlib import Path

from case import Case
from draw import METHODS, draw
from pool import Pool
from reference import Reference
from stored import write
from verdicts import decide

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "mergekit"
SEED, DRAWN = 5, 600
FAMILIES = ("llama", "qwen2", "gpt2", "bert", "vit", "t5", "mixtral", "gemma", "phi3", "qwen3-moe")
SHARES = {"models": 12, "scopes": 6, "slices": 6, "vocabularies": 6, "modules": 3, "documents": 2, "wrong": 7}
LARGE = {"mixtral": 2, "qwen3-moe": 1, "t5": 3}  # families of which few are kept
BYTES = 50_000  # of a single output


def main() -> int:
    """Draw, merge and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, default=Path(".bench/mergekit-0.1.5"))
    parser.add_argument("--folder", type=Path, default=Path(".bench/parity/store"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    for old in (folder, *OUT.glob("[0-9]*")):
        shutil.rmtree(old, ignore_errors=True)
    pool, kept = Pool(folder / "models", SEED), Counter[str]()
    with Reference(options.environment, folder / "adapted") as reference:
        for index in range(DRAWN):
            case = draw(SEED, index, pool.root, FAMILIES)
            if is_wanted(case, kept) and keep(case, pool, reference, folder / f"{index:04}"):
                kept.update((case.kind, case.method, case.family, "all"))
    size = sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file())
    print(f"{kept['all']} cases, {size / 1e6:.2f} MB; {', '.join(f'{name} {kept[name]}' for name in SHARES)}")
    print("methods without a case:", [name for name in METHODS if not kept[name]])
    return 0


def is_wanted(case: Case, kept: Counter[str]) -> bool:
    """Say whether a case adds something."""
    full = kept[case.kind] >= SHARES.get(case.kind, 0) or kept[case.family] >= LARGE.get(case.family, DRAWN)
    return not full and (case.kind == "wrong" or kept[case.method] < 2 or case.kind in ("vocabularies", "documents"))


def keep(case: Case, pool: Pool, reference: Reference, own: Path) -> bool:
    """Merge a case with the reference and store it, if nothing about it is in doubt."""
    pool.provide(case.models)
    own.mkdir(parents=True)
    (own / "config.yml").write_text(case.text)
    out = own / "reference"
    refused = reference.merge(own / "config.yml", out, several=len(case.documents) > 1)
    if (refused is not None) != (case.kind == "wrong"):
        return False
    if refused is None:
        if (out / "model.safetensors").stat().st_size > BYTES:
            return False
        if decide(case, pool.find, (out, refused), None).findings.remarks:
            return False
    number = len(list(OUT.glob("[0-9]*")))
    write(OUT / f"{number:02}", case, pool.root, out, refused)
    return True


if __name__ == "__main__":
    raise SystemExit(main())
