"""Compiles the loop and writes its name and machine code to standard output; run as a process of its own."""

import sys

from cuvee.tensors.kernels.loop import run
from cuvee.tensors.kernels.machine_code import SEPARATOR

if __name__ == "__main__":
    sys.stdout.buffer.write(run.native_name.encode() + SEPARATOR + run._library._get_compiled_object())
