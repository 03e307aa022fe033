"""Recipes: what to merge, stated once, checked before anything is read."""
