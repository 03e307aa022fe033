"""Layouts: which pieces of the inputs make which pieces of the output. Headers in, views out; no bytes, no methods."""
