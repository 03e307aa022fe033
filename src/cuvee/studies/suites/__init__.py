"""The built-in suites: one module or folder each, which says `open_suite`."""
