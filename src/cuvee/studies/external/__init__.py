"""Suites that are declared in a YAML file: published data and models that users with GPUs fetch, and run or plan."""
