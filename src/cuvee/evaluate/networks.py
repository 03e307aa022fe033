"""Networks of transformers, built from a configuration and tensors in memory. Runs no code that comes with a model.

Loading goes through ``from_pretrained`` with a state dict in place of files: names that have changed, experts that are
packed, and tied weights become what they would when the checkpoint is loaded from its folder. Unlike there, a tensor
that the network lacks or does not take is an error.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from cuvee.errors import MissingLibraryError, ScoreError, some
from cuvee.spec import Header

if TYPE_CHECKING:
    import torch

__all__ = [
    "Need",
    "architecture_of",
    "build",
    "check_library",
    "configuration",
    "first_line",
    "fits",
    "quiet",
    "rehearse",
]

Need = Literal["causal", "seq2seq", "text_classifier", "image_classifier", "encoder", "network"]
"""What a score measures: a model that continues text, one that answers text, one that names texts or images, one whose
hidden states are a text's embedding; ``network`` is any."""

MAPPINGS: Mapping[Need, tuple[str, ...]] = {
    "causal": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",),
    "seq2seq": ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",),
    "text_classifier": ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",),
    "image_classifier": ("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",),
    "encoder": (
        "MODEL_MAPPING_NAMES",
        "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",
        "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    ),
}
MOST_NAMED = 4
# Buffers that old checkpoints hold and networks compute; transformers leaves them out of every network that has them.
BUFFERS = r"rotary_emb\.inv_freq", r"(^|\.)position_ids$"


def check_library() -> None:
    """Verify that transformers is there.

    Raises:
        MissingLibraryError: it is not.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            "models are scored through transformers, which is not installed; run: pip install 'cuvee[hf]'"
        ) from error


def architecture_of(config: Mapping[str, object], needs: Sequence[Need], name: str) -> str:
    """Return the class that a configuration names, or else the one that its family has for what is needed.

    Raises:
        ScoreError: it names none, or one that transformers lacks.
    """
    import transformers

    named = config.get("architectures")
    kind = config.get("model_type")
    if isinstance(named, list) and named and isinstance(named[0], str):
        architecture = named[0]
    else:
        found = [table[kind] for need in needs for table in _tables(need) if isinstance(kind, str) and kind in table]
        if not found:
            raise ScoreError(
                f"{name}: its configuration does not say which network it is ('architectures' is missing), so that it "
                "cannot be scored. Add the name of its class in transformers."
            )
        architecture = found[0]
    if not hasattr(transformers, architecture):
        own = " It comes with code of its own, which cuvee does not run." if "auto_map" in config else ""
        raise ScoreError(
            f"{name} is a {architecture}, which transformers {transformers.__version__} does not have.{own}"
        )
    return architecture


def fits(architecture: str, need: Need) -> bool:
    """Say whether an architecture can do what is needed."""
    return need == "network" or any(architecture in table.values() for table in _tables(need))


def configuration(architecture: str, folder: Path, name: str) -> Any:
    """Return a configuration as transformers reads it, defaults included.

    Raises:
        ScoreError: it cannot read it.
    """
    import transformers

    try:
        return getattr(transformers, architecture).config_class.from_pretrained(folder)
    except Exception as error:  # whatever it raises for one that was changed by hand
        raise ScoreError(
            f"{name}: transformers cannot read its configuration as that of a {architecture}: {first_line(error)}."
        ) from error


def rehearse(architecture: str, folder: Path, header: Header, name: str) -> Sequence[str]:
    """Load tensors that have shapes and no values, to find out what does not fit before weights are read.

    Args:
        architecture: the class of the network.
        folder: holds the configuration.
        header: of the tensors.
        name: what to call the model in messages.

    Returns:
        Tensors that the network leaves out, as it says itself: buffers that it computes.

    Raises:
        ScoreError: the network lacks a tensor, or does not take one, or its shape is another one.
    """
    import torch

    tensors = {
        tensor: torch.empty(spec.shape, dtype=getattr(torch, spec.dtype.torch_name), device="meta")
        for tensor, spec in header.items()
    }
    network = _load(architecture, folder, tensors, name, dtype="auto", device_map="meta")
    patterns = {*BUFFERS, *(network._keys_to_ignore_on_load_unexpected or ())}
    own = network.state_dict()
    return [each for each in header if each not in own and any(re.search(pattern, each) for pattern in patterns)]


def build(architecture: str, folder: Path, tensors: "Mapping[str, torch.Tensor]", name: str, dtype: str) -> Any:
    """Make a network.

    Args:
        architecture: its class.
        folder: holds the configuration, and that of generation where there is one.
        tensors: its weights, on the CPU; the network takes them over.
        name: what to call the model in messages.
        dtype: a torch name, or ``"auto"`` for what the configuration says.

    Returns:
        The network, in evaluation mode.

    Raises:
        ScoreError: it lacks a tensor, or does not take one, or its shape is another one.
    """
    from transformers import GenerationConfig

    network = _load(architecture, folder, tensors, name, dtype=dtype)
    if (folder / "generation_config.json").exists() and network.can_generate():
        network.generation_config = GenerationConfig.from_pretrained(folder)
    return network.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Have transformers show no bars and no reports within; then as before."""
    from transformers.utils import logging as theirs

    logging = cast("Any", theirs)  # some of its functions have no types
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Return the first line of what somebody else's error says, without an end."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _tables(need: Need) -> list[dict[str, str]]:
    """Return transformers' tables of families and classes; where a family has several classes, its first."""
    from transformers.models.auto import modeling_auto

    found = [dict(getattr(modeling_auto, name, {})) for name in MAPPINGS.get(need, ())]
    return [{k: v if isinstance(v, str) else v[0] for k, v in table.items()} for table in found]


def _load(architecture: str, folder: Path, tensors: "Mapping[str, torch.Tensor]", name: str, **options: object) -> Any:
    """Load tensors into a network, and account for every one."""
    import transformers

    config = configuration(architecture, folder, name)
    try:
        with quiet():
            network, told = getattr(transformers, architecture).from_pretrained(
                None,
                config=config,
                state_dict=dict(tensors),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # else an error of transformers' that names one of them
                **options,
            )
    except Exception as error:  # whatever a configuration that was changed by hand makes of it
        raise ScoreError(f"{name}: transformers cannot make a {architecture} of it: {first_line(error)}.") from error
    problems = [
        *_listed("lacks", {*told["missing_keys"], *_made_up(network, tensors)}),
        *_listed("does not take", told["unexpected_keys"]),
        *_listed("has another shape for", [each[0] for each in told["mismatched_keys"]]),
    ]
    if problems:
        raise ScoreError(
            f"{name} cannot be scored as a {architecture}, as its configuration calls it: the network "
            f"{'; it '.join(problems)}. Name the class it was saved from in its config.json, or the right models."
        )
    return network


def _made_up(network: Any, tensors: "Mapping[str, torch.Tensor]") -> Iterator[str]:
    """Yield weights that transformers would fill with random numbers and not tell, as their class allows it."""
    patterns = network._keys_to_ignore_on_load_missing or ()
    for name, _ in network.named_parameters():  # of tied weights the first
        is_there = any(name.endswith(each) or each.endswith(name) for each in tensors)  # with or without a prefix
        if not is_there and any(re.search(pattern, name) for pattern in patterns):
            yield name


def _listed(what: str, names: "list[str] | set[str]") -> list[str]:
    """Say what is wrong with some tensors; nothing if there are none."""
    return [f"{what} {some(sorted(names), MOST_NAMED)}"] if names else []
