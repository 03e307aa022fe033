"""Adapters as outputs: merges of adapters, and adapters extracted from models.

::

    opening      the adapters of a recipe, verified to be ones that can be merged as adapters
    vectors      the merge of their task vectors
    merging      the merged factors of every module
    whole        the merged tensors that the adapters have as a whole
    tasks        pieces of work, shared out among workers within a budget
    folder       the files of the output
    merge        the line: a recipe in, an adapter out
    outputs      the adapters of one run, beside its checkpoints
    difference   what two models differ by
    extract      a base and a fine-tuned model in, an adapter out
"""
