"""Pure tensor algebra: operands, passes and the primitives that methods are written in.

Nothing here knows a model, a file or a recipe.
"""
