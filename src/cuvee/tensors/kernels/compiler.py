"""Compiles the loop and writes its name and machine code to a file; run as a process of its own.

::

    python -P -m cuvee.tensors.kernels.compiler FILE
"""

import sys
from pathlib import Path

from cuvee.tensors.kernels.loop import run
from cuvee.tensors.kernels.machine_code import UNUSED, write

if __name__ == "__main__":
    # Where a symbol is missing LLVM loads code half-linked and says nothing. Another numba may ask for other symbols.
    declared = [function.name for function in run._library._final_module.functions if function.is_declaration]
    needed = [name for name in declared if name.startswith(("NRT_", "numba_")) and name not in UNUSED]
    if needed:
        sys.exit(f"this numba asks for {', '.join(needed)}")
    write(Path(sys.argv[1]), run.native_name, run._library._get_compiled_object())
