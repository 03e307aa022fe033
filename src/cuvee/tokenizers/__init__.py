"""Tokenizers: reading them, making one of several, and fitting models to the vocabulary that is made.

Works on the files as plain JSON; needs no library but for models that come without ``tokenizer.json``.
"""
