"""What models are worth and how they differ: scores of a source, differences between two."""
