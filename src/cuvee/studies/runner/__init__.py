"""The runner: everything that studies train, merge and score, once, kept by content. Knows no study."""
