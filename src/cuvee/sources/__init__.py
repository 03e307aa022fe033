"""Things that hold named tensors: checkpoints on disk and state dicts in memory.

Nothing here knows a recipe, a method or what a tensor's name means.
"""
