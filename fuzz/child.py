"""Fuzzes one target in a process of its own, with little memory and little time for each input.

    python fuzz/child.py TARGET CORPUS FINDINGS SECONDS SEED

The process ends with 0 if nothing was found. Otherwise the input is in FINDINGS, and what happened on standard error.
"""

import contextlib
import resource
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["cuvee.recipe", "cuvee.sources", "cuvee.writers.journal", "yaml", "pickletools"]
):
    from targets import TARGETS, workplace

from seeds import SEEDS, WORDS

MEMORY = 1 << 30  # bytes on top of what the process has mapped when it begins: far more than any input is worth
SECONDS = 10  # for an input of a few kB, on a busy machine, in instrumented code


def main() -> None:
    """Fuzz."""
    name, corpus, findings, seconds, seed = sys.argv[1:]
    target, folder = TARGETS[name], workplace()
    for number, content in enumerate(SEEDS[name]):
        (Path(corpus) / f"seed-{number}").write_bytes(content)
    words = Path(corpus).parent / "words"
    words.write_text("".join(f'"{escaped(word)}"\n' for word in WORDS))

    def run(data: bytes) -> None:
        with contextlib.suppress(*target.answers):
            target.run(data, folder)

    limit_memory()
    options = {
        "max_total_time": seconds, "seed": seed, "timeout": SECONDS, "max_len": target.longest, "dict": words,
        "artifact_prefix": f"{findings}/{name}-", "rss_limit_mb": 0, "close_fd_mask": 0, "print_final_stats": 1,
        "verbosity": 0,
    }  # fmt: skip
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), corpus], run)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def escaped(word: bytes) -> str:
    """Write a word as the fuzzer's dictionary has it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def limit_memory() -> None:
    """Have allocations fail beyond the limit; the error that follows is a finding."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))


if __name__ == "__main__":
    main()
