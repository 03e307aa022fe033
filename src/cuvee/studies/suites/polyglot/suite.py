"""Training and scores of polyglot.

Every model chooses each token among the whole vocabulary, as language models do; an answer is right if all its tokens
and the end are what greedy decoding says. A constituent is trained on the tokens of its answers, a base on all tokens
of its texts.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn import functional

from cuvee.studies.adapters import Adapted
from cuvee.studies.digests import checked, digest_of
from cuvee.studies.learning import fit
from cuvee.studies.seeds import generator_for, seed_for
from cuvee.studies.suite import (
    About,
    Architecture,
    Cell,
    Metric,
    Pictures,
    Scores,
    Split,
    Trained,
    Training,
    Weights,
)  # fmt: skip
from cuvee.studies.suites.polyglot.data import COUNTS, LENGTH, Examples, auxiliary, cell_examples, joined, texts
from cuvee.studies.suites.polyglot.lexicon import LANGUAGES, vocabulary
from cuvee.studies.suites.polyglot.network import (
    HEAD_WIDTH,
    PLANS,
    TARGETS,
    THETA,
    Network,
    Plan,
    flops_of,
    new_network,
)  # fmt: skip
from cuvee.studies.suites.polyglot.tasks import AUXILIARY, CHANCE, TASKS

__all__ = ["Polyglot"]

NAME = "polyglot"
BATCH = 64
STEPS = {"weak": 2000, "strong": 5000, "expert": 400}
RATES = {"weak": 1e-2, "strong": 1e-2, "expert": 1e-3, "multitask": 1e-3}
ADAPTER_RATE = 5e-3
DIAGONAL = tuple(Cell(task, language) for task, language in zip(TASKS, LANGUAGES, strict=True))
HELD_IN = (*DIAGONAL, Cell("who", "fr"), Cell("odd", "de"))
"""Every task and every language, and for eight constituents, as the other suites have, two of each once more."""
AT_ONCE = 1024  # examples scored together: what they need stays below 100 MB


class Polyglot:
    """The suite; see `Suite`."""

    @cached_property
    def about(self) -> About:
        """What it is."""
        cells = tuple(Cell(task, language) for task in TASKS for language in LANGUAGES)
        return About(
            name=NAME,
            version=2,
            what="Small language models on real words and invented grammars: 6 tasks in 6 languages.",
            axes=("task", "language"),
            metrics=(Metric(name="exact match", what="Share of questions whose greedy answer is right, to its end."),),
            cells=cells,
            held_in=tuple(cell for cell in cells if cell in HELD_IN),
            architectures={name: _architecture(plan) for name, plan in PLANS.items()},
            sizes=tuple(PLANS),
            bases={
                "weak": "Texts in each of the languages.",
                "strong": f"Those, and {len(AUXILIARY)} other tasks in all languages, six like the cells' but smaller.",
            },
            chance={cell.name: CHANCE[cell.a] for cell in cells},
            examples={split: count for split, count in COUNTS.items() if split != "train"},
        )

    def digests(self) -> Mapping[str, str]:
        """Draw all questions and texts; see `Suite.digests`."""
        parts = {f"{cell.name} {split}": cell_examples(cell, split) for cell in self.about.cells for split in COUNTS}
        parts |= {f"{language} texts": texts(language) for language in LANGUAGES}
        parts |= {f"{language} auxiliary": auxiliary(language) for language in LANGUAGES}
        found = {name: digest_of(part.tokens, part.starts) for name, part in parts.items()}
        found["vocabulary"] = digest_of(torch.tensor(list("\n".join(vocabulary()).encode()), dtype=torch.uint8))
        return checked(NAME, found, json.loads(files(__package__).joinpath("digests.json").read_text()))

    def num_examples(self, training: Training) -> int:
        """See `Suite.num_examples`."""
        return BATCH * _steps(training)

    def train(self, training: Training, start: Weights | None) -> Trained:
        """See `Suite.train`."""
        network = new_network(training.architecture, seed_for(training.seed, f"{NAME} {training.architecture}"))
        if start is not None:
            network.load_state_dict(dict(start))
        adapted = None
        if training.tuning != "full":
            adapted = Adapted(network, training.tuning, TARGETS, (), seed_for(training.seed, "adapter"))
        examples = _examples(training)
        generator = generator_for(training.seed, f"{NAME} {training.role} {[cell.name for cell in training.cells]}")

        def loss_of(_: int) -> Tensor:
            return _loss(network, examples.at(torch.randint(len(examples), (BATCH,), generator=generator)))

        rate = RATES[training.role] if adapted is None else ADAPTER_RATE
        fit(adapted.parameters if adapted else network.parameters(), loss_of, num_steps=_steps(training), rate=rate)
        if adapted:
            return adapted.trained()
        text = json.dumps(_config(training.architecture), indent=2) + "\n"
        return Trained(tensors=network.state_dict(), files={"config.json": text.encode()})

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """See `Suite.score`; outputs are probabilities of the next token.

        The answer's tokens are all asked for at once, each after the right ones before it: greedy decoding says the
        whole answer just if it says each of them.
        """
        parts = [cell_examples(cell, split) for cell in cells]
        everything = joined(parts)
        networks = [_loaded(architecture, model) for model in models]
        with torch.inference_mode():
            right = torch.cat(
                [
                    _right(networks, everything.at(slice(row, row + AT_ONCE)))
                    for row in range(0, len(everything), AT_ONCE)
                ]
            )
        means = [part.double().mean().item() for part in right.split([len(part) for part in parts])]  # type: ignore[no-untyped-call]
        return {cell: {"exact match": value} for cell, value in zip(cells, means, strict=True)}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:  # noqa: ARG002
        """Return no images: there are none."""
        return {}


def _loss(network: Network, examples: Examples) -> Tensor:
    """Return the mean over sequences of the mean over their tokens, so that an answer counts as much as a text."""
    wanted = examples.wanted()
    losses = functional.cross_entropy(
        network.logits_before(examples.tokens, wanted), examples.tokens[wanted], reduction="none"
    )
    weights = wanted / (wanted.sum(1, keepdim=True) * len(examples))
    return (losses * weights[wanted]).sum()


def _right(networks: Sequence[Network], examples: Examples) -> Tensor:
    """Say of each example if all its wanted tokens are the likeliest by the mean of probabilities, (n,) bool."""
    wanted = examples.wanted()
    outputs = [network.logits_before(examples.tokens, wanted).softmax(1) for network in networks]
    is_right = torch.ones_like(wanted)
    is_right[wanted] = torch.stack(outputs).mean(0).argmax(1) == examples.tokens[wanted]
    return is_right.all(1)


def _steps(training: Training) -> int:
    """Return the number of batches."""
    steps = STEPS["expert"] * len(training.cells) if training.cells else STEPS[training.role]
    return max(1, round(steps * training.effort))


def _examples(training: Training) -> Examples:
    """Return what a model is trained on; of each cell its first so many questions."""
    if training.cells:
        return joined([cell_examples(cell, "train").at(slice(training.shots)) for cell in training.cells])
    parts = [texts(language) for language in LANGUAGES]
    if training.role == "strong":
        parts += [auxiliary(language) for language in LANGUAGES]
    return joined(parts)


def _loaded(architecture: str, weights: Weights) -> Network:
    """Make a network of a state dict."""
    network = new_network(architecture, 0)
    network.load_state_dict(dict(weights))
    return network


def _config(architecture: str) -> Mapping[str, object]:
    """Return what a checkpoint says of itself, in Llama's words."""
    plan = PLANS[architecture]
    return {
        "model_type": f"cuvee-{NAME}",
        "hidden_size": plan.width,
        "intermediate_size": 2 * plan.width,
        "num_hidden_layers": plan.depth,
        "num_attention_heads": plan.width // HEAD_WIDTH,
        "num_key_value_heads": plan.width // HEAD_WIDTH,
        "head_dim": HEAD_WIDTH,
        "rope_theta": THETA,
        "max_position_embeddings": LENGTH,
        "vocab_size": len(vocabulary()),
        "tie_word_embeddings": True,
    }


def _architecture(plan: Plan) -> Architecture:
    """Count a network."""
    with torch.device("meta"):
        network = Network(plan)
    return Architecture(
        what=f"decoder LM, {plan.depth} layers, width {plan.width}",
        num_parameters=sum(each.numel() for each in network.parameters()),
        flops=float(flops_of(plan)),
        tunings=("full", "lora"),
    )
