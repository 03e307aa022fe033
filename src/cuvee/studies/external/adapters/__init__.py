"""What runs declared suites: one adapter for each kind of scoring."""
