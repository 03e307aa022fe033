"""Merge methods, one file each, named as in their papers. `registry` finds them; `declare` is how they say what they are."""
