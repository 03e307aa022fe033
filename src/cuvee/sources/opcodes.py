"""What a pickle asks for, told from its opcodes without running it.

A pickle is a program for a small machine; by itself it can make containers, numbers and texts. Everything else it has
to ask for by module and name, and that is where harm would come from. Knows which names stand for plain tensors.
Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py (the standard library's own reader is used).
"""

import pickletools
import re
from collections.abc import Collection, Iterator
from typing import BinaryIO

__all__ = ["PROTOCOL", "Request", "requests_of"]

PROTOCOL = 2  # torch.save's, and the one that its reader of weights alone knows in full
# What torch.save writes of plain tensors, and harmless containers of Python's. Left out of what torch's reader of
# weights alone takes: what allocates by the word of the file (bytearray, torch.Tensor), and other kinds of tensors.
NEEDED = re.compile(
    r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter(_with_state)?)"
    r"|torch\.nn\.parameter\.Parameter|torch\.(Size|device)|torch\.serialization\._get_layout"
    r"|torch\.(cuda\.)?[A-Z]\w*Storage|torch\.storage\.(Untyped|Typed)Storage"
    r"|torch\.(bool|bfloat16|(u?int|float|complex)\d\w*)",
    re.ASCII,
)
# Other opcodes that ask for something; torch.save does not use them.
OTHERS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"})

Request = str
"""Module and name of something that a pickle asks for, or an opcode that asks for something unsaid."""


def requests_of(file: BinaryIO, num_pickles: int = 1) -> Collection[Request]:
    """Read pickles, one after the other, and say what they ask for that is no tensor. Runs nothing.

    Args:
        file: stands at the first one, and at the end of the last one afterwards.
        num_pickles: how many there are.

    Returns:
        Each request once, in order; none where there are only tensors.

    Raises:
        ValueError: it is no pickle, or one of another protocol.
    """
    found: dict[Request, None] = {}
    for _ in range(num_pickles):
        try:
            for request in _requests(file):
                found[request] = None
        except ValueError:
            if not found:
                raise
            break  # what it asked for before says more than where it ends
    return found


def _requests(file: BinaryIO) -> Iterator[Request]:
    """Yield what one pickle asks for."""
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and isinstance(argument, str):
            name = ".".join(argument.split(" ", 1))
            if not NEEDED.fullmatch(name):
                yield name
        elif opcode.name in OTHERS:
            yield opcode.name
        elif opcode.name == "PROTO" and argument != PROTOCOL:
            raise ValueError(f"it has pickle protocol {argument}, torch.save writes {PROTOCOL}")
