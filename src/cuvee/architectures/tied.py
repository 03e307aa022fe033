"""Which names of a model stand for the same weight: tied embeddings and heads.

Knows names, shapes and the configuration; reads no bytes. Embeddings and heads are recognised by the words families use
for them (`roles`), not by family. Of one tie there can be several members::

    shared.weight ── encoder.embed_tokens.weight        lm_head.bias ── lm_head.decoder.bias
        │      └──── decoder.embed_tokens.weight
        └─────────── lm_head.weight

What counts as evidence, checked against transformers 5:

* *Shared storage*, for state dicts in memory: always.
* *A member that is not stored.* ``save_pretrained`` stores a tied weight once, so an embedding of the encoder that is
  missing beside ``shared`` is that one, and so is a head that is missing, unless the configuration says
  ``tie_word_embeddings: false``. Symmetrically for a file that kept the head only. (A model without head lacks one,
  too; nobody asks for it by name.)
* *Two members that are both stored* are two tensors, whatever the configuration says. transformers loads them so, too,
  if their values differ: Flan-T5 stores a head of its own, yet transformers 5 writes ``tie_word_embeddings: true`` for
  it, as for every T5. Headers alone cannot tell these from copies. `stored_twice` lists them; who can read bytes
  compares them, and passes pairs that are equal as `shared`.

``tie_word_embeddings`` is true if the configuration, or the part of it that is about the text model, says so; both can
have it, one of them only by the default of its class. If absent, nothing is concluded: transformers 4 left it out when
true (its default for all), transformers 5 fills in a default per family.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from cuvee.architectures.layers import layer_of
from cuvee.spec import Header

__all__ = ["HEAD_PARTS", "TEXT_CONFIGS", "is_embedding", "is_head", "stored_twice", "tied_names"]

# Last module of the name of an input embedding of tokens.
_EMBEDDINGS = frozenset(
    (
        *("shared", "wte", "w", "embed", "embed_tokens", "embed_in", "embedding", "embeddings", "input_embedding"),
        *("word_embedding", "word_embeddings", "tok_embeddings", "token_embedding", "token_embeddings", "tokens_embed"),
    )
)
# Last module of the name of a head over tokens: by itself, below a part of that name, or as the only module.
_HEADS = ("lm_head", "embed_out", "output_projection", "vocab_projector", "lm_loss")
HEAD_PARTS = ("lm_head", "mlm_head", "predictions", "pred_layer")
_INSIDE_HEAD = ("decoder", "out_proj", "proj")
_HEADS_AT_TOP = ("head", "output", "proj_out", "decoder")
_TIED = _EMBEDDINGS.union(_HEADS, _INSIDE_HEAD, _HEADS_AT_TOP)
# Classes, and names of embeddings, that come with a head called lm_head where none is stored. Heads of other names are
# resolved when another source has them.
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_WITH_LM_HEAD = re.compile(
    r"model\.(?:(?:language|text)_model\.)?embed_tokens|transformer\.(?:wte|word_embeddings)|backbone\.embeddings|"
    r"(?:model\.)?(?:language_model\.)?shared"
)
_PART = re.compile(r"(?:\w+_)?(?:encoder|decoder)(?:\..+)?")
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "decoder", "thinker_config")


def tied_names(
    header: Header, config: Mapping[str, object], shared: Sequence[Sequence[str]] = (), elsewhere: Iterable[str] = ()
) -> Mapping[str, str]:
    """Return, for every name that is not a tensor of its own, the stored name that holds its bytes.

    Args:
        header: the source's header.
        config: the model's configuration, or an empty mapping.
        shared: groups of stored names known to hold the same bytes: one storage in memory, or found equal by reading.
        elsewhere: names other sources of the merge store; one that this source lacks is resolved here if it is tied.

    Returns:
        Alias to canonical name. Canonical names are stored and are no aliases themselves; an alias is stored too only
        if it comes from `shared`. The canonical member of a tie is its input embedding where that is stored, else the
        first member stored.
    """
    aliases = _from_storage(header, shared)
    untied = _declared(config) is False
    own = _can_be_tied(header)
    others = _can_be_tied(name for name in elsewhere if name not in header)
    for members in _ties([*own, *others, *_evident(own, header, config)], header):
        stored = next((name for name in members if name in header), None)
        if stored is None:
            continue
        for name in members:
            if name not in header and not (untied and (is_head(name) or is_head(stored))):
                aliases[name] = aliases.get(stored, stored)
    return aliases


def stored_twice(header: Header, config: Mapping[str, object]) -> Mapping[str, str]:
    """Return pairs of stored tensors of one tie, which hold equal bytes if the file was written without regard to ties.

    Args:
        header: the source's header.
        config: the model's configuration, or an empty mapping.

    Returns:
        Head (or part's embedding, or bias) to canonical name, of equal shape and element type. Empty when the
        configuration does not say that weights are tied. Unless bytes are compared, treat both as tensors of their own.
    """
    if _declared(config) is not True:
        return {}
    pairs: dict[str, str] = {}
    for members in _ties(_can_be_tied(header), header):
        stored = [name for name in members if name in header]
        pairs |= {name: stored[0] for name in stored[1:] if header[name] == header[stored[0]]}
    return pairs


def _declared(config: Mapping[str, object]) -> bool | None:
    """Return what the configuration says about tying, or None if it does not."""
    parts = [config, *(part for key in TEXT_CONFIGS if isinstance(part := config.get(key), Mapping))]
    answers = [answer for part in parts if isinstance(answer := part.get("tie_word_embeddings"), bool)]
    return any(answers) if answers else None


def _from_storage(header: Header, shared: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return aliases for names of one storage and one specification; groups that overlap are one."""
    groups: list[set[str]] = []
    for names in shared:
        group = {name for name in names if name in header}
        apart = [other for other in groups if not other & group]
        groups = [*apart, group.union(*(other for other in groups if other & group))]
    aliases: dict[str, str] = {}
    position = {name: index for index, name in enumerate(header)} if groups else {}
    for group in groups:
        canonical, *others = sorted(group, key=lambda name: (_rank(name), position[name])) or [""]
        aliases |= {name: canonical for name in others if header[name] == header[canonical]}
    return aliases


def _can_be_tied(names: Iterable[str]) -> list[str]:
    """Return the names that may be an embedding's, a head's or a head's bias: few of a model's tens of thousands."""
    return [name for name in names if _ends_as_tied(name)]


def _ends_as_tied(name: str) -> bool:
    """Tell names that can be in a tie, and few others, by their last words."""
    word, leaf = ("", *name.rsplit(".", 2))[-2:]
    if leaf == "weight":
        return word in _TIED or word.endswith("_lm_head")
    return leaf == "bias" and (word == "decoder" or word in HEAD_PARTS)


def _modules(name: str) -> list[str]:
    """Return the modules of a weight's name, or an empty list for what is not called weight or is inside layers."""
    *modules, leaf = name.split(".")
    return modules if leaf == "weight" and layer_of(name) is None else []


def is_embedding(name: str) -> bool:
    """Tell the table of input tokens, by the last module of its name."""
    return any(last in _EMBEDDINGS for last in _modules(name)[-1:])


def is_head(name: str) -> bool:
    """Tell the map to the vocabulary, by the last modules of its name."""
    modules = _modules(name)
    if not modules:
        return False
    last, parent = modules[-1], modules[-2] if len(modules) > 1 else ""
    return (
        last in _HEADS
        or last.endswith("_lm_head")
        or (last in _INSIDE_HEAD and parent in HEAD_PARTS)
        or (len(modules) == 1 and last in _HEADS_AT_TOP)
    )


def _rank(name: str) -> int:
    """Order the members of a tie: shared embedding, other embeddings, then heads and biases."""
    return 0 if _modules(name)[-1:] == ["shared"] else 1 if is_embedding(name) else 2


def _ties(names: Iterable[str], header: Header) -> list[list[str]]:
    """Group names that would be one weight if the model ties: the canonical member first, then in the order given."""
    unique = list(dict.fromkeys(names))
    embeddings = {name: None for name in sorted(unique, key=_rank) if is_embedding(name)}
    owners = {name: _owner(name, embeddings) for name in embeddings}
    roots = {name: _last(owners, name) for name in owners}
    groups: dict[str, list[str]] = {root: [root] for root in roots.values()}
    for name, root in roots.items():
        if name != root:
            groups[root].append(name)
    for head in filter(is_head, unique):
        candidates = [name for name in embeddings if _fits(head, name, header)]
        if candidates:
            nearest = max(candidates, key=lambda name: (name in header, *_nearness(name, head)))
            groups[roots[nearest]].append(head)
    known = set(unique)
    for name in unique:
        stem = name.removesuffix(".decoder.bias")
        if stem != name and stem.split(".")[-1] in HEAD_PARTS and f"{stem}.bias" in known:
            groups[f"{stem}.bias"] = [f"{stem}.bias", name]
    return [group for group in groups.values() if len(group) > 1]


def _owner(name: str, embeddings: Mapping[str, None]) -> str:
    """Return the embedding of the whole model that a part's embedding copies, or `name` itself.

    ``decoder.embed_tokens.weight`` copies ``shared.weight``; ``p.decoder.word_embeddings.weight`` copies
    ``p.word_embeddings.weight``: the owner's prefix, then the part, then the same word unless the owner says "shared".
    """
    *path, word = _modules(name)
    for end in range(len(path)):
        if _PART.fullmatch(".".join(path[end:])):
            for owner in ("shared", word):
                candidate = ".".join([*path[:end], owner, "weight"])
                if candidate in embeddings:
                    return candidate
    return name


def _last(owners: Mapping[str, str], name: str) -> str:
    """Follow owners, each shorter in name than the one it owns, to the one that owns itself."""
    while owners[name] != name:
        name = owners[name]
    return name


def _fits(head: str, embedding: str, header: Header) -> bool:
    """Tell whether a head and an embedding can be one tensor, as far as both are stored."""
    return head not in header or embedding not in header or header[head] == header[embedding]


def _nearness(embedding: str, head: str) -> tuple[int, bool, bool]:
    """Order a head's candidates: by the length of the common prefix, then the shared one, then a decoder's."""
    pairs = zip(head.split("."), embedding.split("."), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return common, _rank(embedding) == 0, "decoder" in embedding or "language_model" in embedding


def _has_part(header: Header, part: str) -> bool:
    """Tell whether any tensor belongs to a module."""
    return any(name.startswith(f"{part}.") for name in header)


def _evident(likely: Sequence[str], header: Header, config: Mapping[str, object]) -> list[str]:
    """Return names the model has, judging by its other parts, that may not be stored because they are tied.

    Args:
        likely: the names of the header that can be tied.
        header: the source's header.
        config: the model's configuration.
    """
    found = []
    for owner in (name for name in likely if _rank(name) == 0):
        parts = [owner.removesuffix("shared.weight") + part for part in ("encoder", "decoder")]
        found += [f"{part}.embed_tokens.weight" for part in parts if _has_part(header, part)]
    if _declared(config) is not True or any(map(is_head, likely)):
        return found
    # The masked language models' heads have a map of their own before the tied one, and a bias.
    stems = [name.removesuffix(".bias") for name in likely if name.endswith(".bias")]
    heads = [stem for stem in stems if stem.split(".")[-1] in HEAD_PARTS]
    decoders = [stem for stem in heads if _has_part(header, f"{stem}.dense") or _has_part(header, f"{stem}.transform")]
    if decoders:
        return found + [f"{stem}.decoder.{leaf}" for stem in decoders for leaf in ("weight", "bias")]
    classes = config.get("architectures")
    generates = isinstance(classes, list | tuple) and any(str(name).endswith(_GENERATES) for name in classes)
    has_embedding = any(_WITH_LM_HEAD.fullmatch(".".join(_modules(name))) for name in likely)
    return [*found, "lm_head.weight"] if generates and has_embedding else found
