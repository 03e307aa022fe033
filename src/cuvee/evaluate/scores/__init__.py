"""One score per file; see `cuvee.evaluate.declare`."""
