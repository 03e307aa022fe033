"""What a plan tells the user: names left out or tied, rules without effect, companions that differ.

Nothing here changes what is merged. Reads no weight; compares configurations, and tokenizer files byte by byte.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from cuvee.architectures.layers import layer_of, stacks
from cuvee.architectures.roles import role_of
from cuvee.errors import PlanError, some
from cuvee.layered import ground_of
from cuvee.layouts.aligned import Aligned
from cuvee.layouts.stacked import Stacked
from cuvee.recipe.recipe import BASE
from cuvee.recipe.rule import Rule
from cuvee.sources.sidecars import CONFIG, PIPELINE
from cuvee.sources.vocabulary import Vocabulary
from cuvee.spec import File, Header, Source, TensorSpec

__all__ = [
    "differing_companions",
    "first_layers_apart",
    "is_base_merged",
    "lacking_configuration",
    "layers_left_out",
    "merged_from_fewer",
    "names_apart",
    "refuse_depths",
    "refuse_strangers",
    "repeated",
    "rules_without_effect",
    "unlike_configuration",
    "unused_base",
]

SHOWN = 5  # names in one note before it says how many more there are
# What two saves of one model may differ in without meaning it.
INCIDENTAL = frozenset({
    "_diffusers_version", "_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "auto_map",
})  # fmt: skip
RuleFor = Callable[[str], Rule | None]
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model")


def _tensors(names: Sequence[str], what: str) -> str:
    """Word a fact about tensors."""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} {what}: {some(names, SHOWN)}."


def names_apart(matched: Aligned, rule_for: RuleFor, *, is_translated: bool = False) -> list[str]:
    """Report names that are not written, follow another's rule, or are tied in some models only.

    Args:
        matched: the names.
        rule_for: the rule that holds for a name.
        is_translated: the recipe's rules stand for the modules of a configuration of mergekit.
    """
    notes = []
    if matched.skipped:
        why = "left out, as they belong to none of the parts in 'modules'" if is_translated else "left out by a rule"
        notes.append(_tensors(list(matched.skipped), why))
    for name, holder in matched.tied.items():
        if rule_for(name) != rule_for(holder):
            notes.append(f"{name} is tied to {holder} and follows its rule.")
    if matched.untied:
        notes.append(_tensors(matched.untied, "tied in some models only, so written on their own"))
    return notes


def merged_from_fewer(lacking: Mapping[str, Sequence[str]]) -> list[str]:
    """Report tensors that are merged without some of the models, which lack them.

    Args:
        lacking: for each such tensor, the labels of the models that lack it.
    """
    if not lacking:
        return []
    labels = dict.fromkeys(label for own in lacking.values() for label in own)
    counts = [f"'{label}' lacks {sum(label in own for own in lacking.values())}" for label in labels]
    return [f"{_tensors(list(lacking), 'merged without the models that lack them')[:-1]} ({some(counts, SHOWN)})."]


def rules_without_effect(
    rules: Sequence[Rule], rule_for: RuleFor, names: Sequence[str], ties: Mapping[str, str]
) -> list[str]:
    """Report rules that hold for no tensor: misspelt, perhaps, or about a name that is tied to another.

    Args:
        rules: the recipe's rules.
        rule_for: the rule that holds for a name.
        names: every name that the models store.
        ties: names that the donor ties to another, stored or not.
    """
    active = {id(rule_for(name)) for name in names}
    notes = []
    for i, rule in enumerate(rules):
        if id(rule) in active:
            continue
        tied = next((name for name in ties if rule.matches(name)), None)
        if any(map(rule.matches, names)):
            cause = "earlier rules hold for all that it matches"
        elif tied is not None:
            cause = f"{tied} is tied to {ties[tied]} and not stored; match that"
        else:
            cause = "it matches no tensor"
        notes.append(f"Rule {i + 1} of the recipe ({', '.join(rule.match)}) has no effect: {cause}.")
    return notes


def repeated(sources: Mapping[str, Source], *, has_task_vectors: bool) -> list[str]:
    """Report sources that are named more than once, each in one note.

    Args:
        sources: by label.
        has_task_vectors: whether some tensors are merged by task vectors; else the base may be a model like the others.
    """
    named = sources if has_task_vectors else {label: source for label, source in sources.items() if label != BASE}
    labels: dict[int, list[str]] = {}
    for label, source in named.items():
        if source.location:  # what is in memory was handed over knowingly
            labels.setdefault(id(source), []).append(label)
    return [_one_model(own, sources[own[0]]) for own in labels.values() if len(own) > 1]


def _one_model(labels: Sequence[str], source: Source) -> str:
    """Say which labels stand for one model."""
    models = [f"'{label}'" for label in labels if label != BASE]
    several = len(models) > 1
    listed = f"{some(models[:-1], SHOWN)} and {models[-1]}" if several and len(models) <= SHOWN else some(models, SHOWN)
    what = f"{listed} are one model" if several else f"{listed} is the base: its task vector is zero"
    also = ", which is the base: their task vectors are zero" if several and BASE in labels else ""
    return f"{what}{also} ({source.reference})."


def lacking_configuration(sources: Mapping[str, Source], donor: str) -> list[str]:
    """Report that the donor has no configuration to lend, where another source has one."""
    own = sources[donor]
    other = next((label for label, source in sources.items() if source.config), None)
    if own.config or not own.location or other is None:
        return []
    why = "the base" if donor == BASE else "the first model"
    return [
        f"'{donor}' ({own.reference}) lends configuration and tokenizer, as {why}, and has none: a folder that is "
        f"written so lacks config.json. Name a checkpoint's folder there; or, to follow '{other}', give it as 'base'."
    ]


def refuse_strangers(headers: Mapping[str, Header]) -> None:
    """Refuse models that have few names in common, where a tensor that some lack is made of those that have it.

    Raises:
        PlanError: two models share less than half of the tensors of the smaller one; names them.
    """
    (first, own), *others = headers.items()
    for other, theirs in others:
        shared, least = len(own.keys() & theirs.keys()), min(len(own), len(theirs))
        if 2 * shared < least:
            raise PlanError(
                f"'{first}' and '{other}' are of different architectures: of {least} names of tensors they share "
                f"{shared}. Merge models of one architecture.",
                ("models",),
            )


def refuse_depths(headers: Mapping[str, Header]) -> None:
    """Refuse models of different numbers of layers, where a tensor that some lack is made of those that have it.

    Raises:
        PlanError: they differ; names two of them.
    """
    counts = {label: stacks(header) for label, header in headers.items()}
    for stack in dict.fromkeys(stack for own in counts.values() for stack in own):
        found = {label: own[stack] for label, own in counts.items() if stack in own}
        (first, least), (last, most) = min(found.items(), key=lambda c: c[1]), max(found.items(), key=lambda c: c[1])
        if least != most:
            raise PlanError(
                f"'{last}' has {most} layers in '{stack or 'its names'}', and '{first}' {least}. Merge models of one "
                "depth, or say which layers are taken of each: in 'layers', in 'slices' of a mergekit configuration.",
                ("models",),
            )


def layers_left_out(stacked: Stacked) -> list[str]:
    """Report layers of the models that no layer of the output is made of."""
    return [
        f"layers {_runs(indices)} of '{label}' in '{stack}' are not taken."
        for label, own in stacked.unused.items()
        for stack, indices in own.items()
    ]


def first_layers_apart(stacked: Stacked) -> list[str]:
    """Report what only the models' first layers have, where the output has it in other layers, or not in its first."""
    notes = []
    for stack, rests in stacked.of_first.items():
        firsts = [i for i, origin in enumerate(stacked.origins[stack]) if 0 in origin.values()]
        if not rests or firsts == [0]:
            continue
        what = some(rests, SHOWN)
        notes.append(
            f"of the models' layers in '{stack}', only the first has {what}; in the output "
            + (f"{_layers(firsts)} it" if firsts else "no layer has it")
            + ", and it may not load. Let the first slice take layer 0, and no other."
        )
    return notes


def _layers(numbers: Sequence[int]) -> str:
    """Say which layers have something."""
    return f"layer {numbers[0]} has" if len(numbers) == 1 else f"layers {_runs(numbers)} have"


def _runs(numbers: Sequence[int]) -> str:
    """Word numbers in ascending order: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def unlike_configuration(
    outputs: Mapping[str, TensorSpec], skipped: Iterable[str], ties: Mapping[str, str], donor: str, source: Source
) -> list[str]:
    """Report output tensors that the donor's configuration may not describe, so that loading the merge may fail.

    Args:
        outputs: the tensors that are written.
        skipped: names left out by a rule.
        ties: names that the source ties to another, stored or not.
        donor: label of the source whose configuration goes with the merge.
        source: that source.
    """
    if not source.config:
        return []
    lost = [name for name in skipped if (own := source.header.get(name)) and role_of(name, own) != "buffer"]
    extra = [name for name in outputs if name not in source.header and name not in ties]
    other = [name for name, spec in outputs.items() if (own := source.header.get(name)) and own.shape != spec.shape]
    notes = []
    for names, what in ((lost, "which is left out"), (extra, "which it lacks"), (other, "in another shape")):
        if names:
            notes.append(
                f"The configuration comes from '{donor}', but the merge differs from it by {len(names)} tensor"
                f"{'s' if len(names) > 1 else ''}, {what}: {some(names, SHOWN)}. Check "
                f"{PIPELINE if PIPELINE in source.sidecars else CONFIG} before you load the merge."
            )
    embeddings = [name for name in lost if _is_embedding(name, source.header[name])]
    if embeddings and not any(_is_embedding(name, spec) for name, spec in outputs.items()):
        notes.append(f"The merge will have no embeddings, which are left out: {some(embeddings, SHOWN)}.")
    return notes


def _is_embedding(name: str, spec: TensorSpec) -> bool:
    """Say whether a tensor embeds what the model reads; those within layers are about places and distances."""
    return layer_of(name) is None and role_of(name, spec) == "embedding"


def differing_companions(sources: Mapping[str, Source], donor: str) -> list[str]:
    """Report settings and tokenizers that differ from the donor's, which go with the merge."""
    notes = []
    own = sources[donor]
    for label, source in sources.items():
        if source is own:
            continue
        if own.config and source.config:
            theirs, ours = _settings(source.config), _settings(own.config)
            differing = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
            if differing:
                shown = [f"{key} ({theirs.get(key)!r}, not {ours.get(key)!r})" for key in differing]
                notes.append(
                    f"'{label}' is configured otherwise than '{donor}', which the merge follows: {some(shown, SHOWN)}."
                )
        tokenizers = [name for name in own.sidecars if name.rpartition("/")[2] in TOKENIZERS]
        files = [name for name in tokenizers if not _same(own.sidecars.get(name), source.sidecars.get(name))]
        if files:
            notes.append(
                f"'{label}' has another tokenizer than '{donor}', whose goes with the merge: {some(files, SHOWN)}."
            )
    return notes


def _settings(config: Mapping[str, object], part: str = "") -> dict[str, object]:
    """Return the settings of a model and of its parts (``text_config.hidden_size``), without incidental ones."""
    found: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and not part:
            found |= _settings(value, f"{key}.")
        elif key not in INCIDENTAL:
            found[part + key] = value
    return found


def _same(one: File | None, other: File | None) -> bool:
    """Compare two files; one that is missing differs from nothing."""
    if one is None or other is None or one == other:
        return True
    return one.read_bytes() == other.read_bytes()


def is_base_merged(sources: Mapping[str, Source]) -> bool:
    """Say whether the base is merged under another label, too, or gives rows of the vocabulary to other models."""
    base, others = sources[BASE], [source for label, source in sources.items() if label != BASE]
    givers = [giver for source in others if isinstance(source, Vocabulary) for giver in source.givers]
    return any(source is base for source in others) or any(ground_of(each) is ground_of(base) for each in givers)


def unused_base(method: str) -> str:
    """Say what becomes of a base that a method has no need of."""
    return (
        f"method '{method}' does not use the base; it lends configuration, tokenizer, and what is copied (whole "
        "numbers, buffers)."
    )
