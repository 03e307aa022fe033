"""Adapters as outputs: merges of adapters, and adapters extracted from models.

::

    opening    the adapters of a recipe, verified to be ones that can be merged as adapters
    merging    the merged factors of every module
    whole      the merged tensors that the adapters have as a whole
    folder     the files of the output
    merge      the line: a recipe in, an adapter out
    extract    a base and a fine-tuned model in, an adapter out
"""
