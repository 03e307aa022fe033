"""Compiled CPU kernels under the primitives: raw elements in, numbers or raw elements out, no tensor in between.

::

    program   operands to a frame of numbers and addresses; needs neither numba nor torch
    frame     what the numbers mean
    machine_code   the compiled loop, from the cache or from numba
    compiler  makes that, in a process of its own
    loop      rows, chunks, operands          ┐
    elements  raw elements to float32 and back│ compiled by numba
    stages    cuts and random drops           │
    merges    sums and disjoint merges        │
    measures  products, counts, votes         ┘
"""
