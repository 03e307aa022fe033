"""Carrying out a plan: reading, computing and writing block by block. Decides nothing and names no method."""
