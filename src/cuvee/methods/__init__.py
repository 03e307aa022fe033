"""Merge methods, one file each. `registry` finds them; `declare` is how they say what they are."""
