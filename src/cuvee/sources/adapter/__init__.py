"""Adapters as sources: a base with a PEFT adapter merged into it, formed as it is read.

::

    configuration   adapter_config.json: what it says, what it must not say
    patterns        the regular expressions in it, which are not ours
    names           names of an adapter's tensors: module, role, leaf
    folder          an adapter by itself: configuration, factors and whole tensors of each module; needs no base
    tying           embeddings and heads as a whole, where the base has one tensor for both
    matching        names of modules to names of the base's tensors
    binding         an adapter and a base's header to changes, every shape verified; reads no weight
    product         the product of two factors, a band of rows at a time
    changes         what is done to the elements of one tensor
    adapted         the Source
"""
