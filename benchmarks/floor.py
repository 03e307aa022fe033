"""Read every input once and write one output: the least that a merge of these files can take.

    python -I -S benchmarks/floor.py OUT MODEL [MODEL ...]

Reads the safetensors files of all folders side by side, in blocks, into one buffer that is used again and again, and
writes as many bytes as the first model has into the folder OUT. One thread, nothing computed. With ``--sync`` as the
first word the output is flushed to disk before it ends. Linux only.
"""

import os
import sys

BLOCK = 8 << 20


def copy(inputs: list[str], output: str, flush: bool) -> None:
    """Read files side by side and write the blocks of the first one, read last."""
    sources = [os.open(path, os.O_RDONLY) for path in reversed(inputs)]
    sizes = [os.fstat(source).st_size for source in sources]
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.posix_fallocate(target, 0, max(sizes[-1], 1))
    buffer = memoryview(bytearray(BLOCK))
    for position in range(0, max(sizes), BLOCK):
        for source, size in zip(sources, sizes, strict=True):
            count = max(min(BLOCK, size - position), 0)
            read = 0
            while read < count:
                read += os.preadv(source, [buffer[read:count]], position + read)
        written = 0
        while written < count:
            written += os.pwrite(target, buffer[written:count], position + written)
    if flush:
        os.fsync(target)


def main() -> None:
    """Read the words of the command and copy file by file."""
    words = sys.argv[1:]
    if len(words) < 2 or words[0] in ("-h", "--help"):
        sys.exit(__doc__)
    flush = words[0] == "--sync"
    out, *models = words[flush:]
    os.mkdir(out)  # noqa: PTH102  pathlib would take longer to import than this whole program
    for name in sorted(os.listdir(models[0])):  # noqa: PTH208
        if name.endswith(".safetensors"):
            copy([f"{model}/{name}" for model in models], f"{out}/{name}", flush)


if __name__ == "__main__":
    main()
