"""What tensor names mean: layers and depth, roles, tied names, packed weights.

Everything here is read from names, headers and the model's configuration. No table per architecture, no bytes, no
library of tensors: a family nobody has seen yet works as long as it names its parts the way everyone does.
"""
