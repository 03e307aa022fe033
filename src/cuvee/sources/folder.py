"""Which files of a folder hold its weights, wherever the folder lies.

Knows the naming conventions of Hugging Face checkpoints; reads indexes, and no weight.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from cuvee.errors import FormatError, SourceError, UnsupportedError, some
from cuvee.sources.storage import Storage
from cuvee.sources.strict_json import parse_object, shown

__all__ = [
    "ADAPTER",
    "ADAPTER_CONFIG",
    "INDEX_SUFFIX",
    "OLD_ADAPTER",
    "PICKLE_INDEX_SUFFIX",
    "PICKLE_SUFFIX",
    "PICKLE_SUFFIXES",
    "STEMS",
    "SUFFIX",
    "Weights",
    "check_index",
    "find_weights",
    "holds_weights",
    "read_index",
    "refuse_pickle",
]

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
VARIANT_INDEX = "*.safetensors.index.*.json"  # of a variant: model.safetensors.index.fp16.json
# transformers' name, then diffusers'.
STEMS = ("model", "diffusion_pytorch_model")
ADAPTER = "adapter_model.safetensors"
OLD_ADAPTER = "adapter_model.bin"
ADAPTER_CONFIG = "adapter_config.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
PICKLE_SUFFIX = ".bin"  # of the files of a checkpoint in several, and of its index
PICKLE_INDEX_SUFFIX = ".bin.index.json"
PART = re.compile(r"-\d{5}-of-(?!00001\.)\d{5}\.")  # in the name of a file that is one of several
# Names listed in a message before it says how many more there are.
LISTED = 3
LONGEST_HINT = 200


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that hold a model's weights.

    Attributes:
        files: bare names, in order.
        index: name of the index file, if there is one.
        weight_map: the name of the file of each tensor, as the index says; empty without index.
    """

    files: Sequence[str]
    index: str | None
    weight_map: Mapping[str, str]


def find_weights(folder: Storage) -> Weights:
    """Find the safetensors files that make up the model in `folder`.

    An index wins over other files; ``model`` over other names. Files that an index does not name are not part of the
    model.

    Raises:
        SourceError: there are none, or it is unclear which.
        FormatError: the index is malformed, or names files that are missing or elsewhere.
        UnsupportedError: the folder holds an adapter.
    """
    names = folder.names()
    for stem in STEMS:
        if stem + INDEX_SUFFIX in names:
            return _indexed(folder, stem + INDEX_SUFFIX, names)
        if stem + SUFFIX in names:
            return _single(folder, stem + SUFFIX)
    indexes = [name for name in names if name.endswith(INDEX_SUFFIX) or fnmatchcase(name, VARIANT_INDEX)]
    files = [name for name in names if name.endswith(SUFFIX)]
    if len(indexes) == 1:
        return _indexed(folder, indexes[0], names)
    if len(files) == 1 and not PART.search(files[0]):
        return _single(folder, files[0])
    if not files:
        raise _nothing(folder, names)
    raise SourceError(
        f"{folder.place} holds {len(files)} safetensors file{'s' if len(files) > 1 else ''} ({_some(files)}) and no "
        f"single index that says which make up the model. Download model{INDEX_SUFFIX}, or name one file."
        f"{folder.unseen}"
    )


def holds_weights(names: Iterable[str]) -> bool:
    """Say whether there are weights among the files of a folder, in whatever format."""
    return any(PurePath(name).suffix.lower() in (SUFFIX, *PICKLE_SUFFIXES) for name in names)


def _single(folder: Storage, name: str) -> Weights:
    if name == ADAPTER:
        raise UnsupportedError(
            f"{folder.place} holds an adapter ({name}), not a whole model. Name the model it was trained on, too: "
            f"BASE+ADAPTER, here {_base_of(folder)}+{folder.place}."
        )
    return Weights((name,), None, {})


def _base_of(folder: Storage) -> str:
    """Return what an adapter says that it was made for, or BASE; a name that is no plain text is no hint."""
    if ADAPTER_CONFIG not in folder.names():
        return "BASE"
    fields = parse_object(folder.small(ADAPTER_CONFIG), folder.where(ADAPTER_CONFIG))
    named = fields.get("base_model_name_or_path")
    return named if isinstance(named, str) and named.isprintable() and 0 < len(named) < LONGEST_HINT else "BASE"


def _indexed(folder: Storage, index: str, names: Sequence[str]) -> Weights:
    weights = read_index(folder, index, names)
    single = index.partition(".index.")[0]
    if single in names and single not in weights.files:
        raise SourceError(
            f"{folder.place} holds both {single} and {index}, which names other files ({_some(weights.files)}): two "
            f"models, perhaps one older than the other. Remove one of them, or name the file {folder.where(single)}."
        )
    return weights


def read_index(folder: Storage, index: str, names: Collection[str], suffix: str = SUFFIX) -> Weights:
    """Read an index.

    Args:
        folder: where it lies.
        index: its name.
        names: the files that are there.
        suffix: of the files that it may name.

    Raises:
        FormatError: it is malformed, or names files that are missing or elsewhere.
    """
    where = folder.where(index)
    weight_map = _weight_map(folder.small(index), where, suffix)
    files = sorted(set(weight_map.values()))
    missing = sorted({*files}.difference(names))
    if missing:
        raise FormatError(f"{where} names {_some(missing)}, missing from the folder. {folder.remedy}")
    return Weights(tuple(files), index, weight_map)


def _weight_map(raw: bytes, path: str, suffix: str) -> dict[str, str]:
    weight_map = parse_object(raw, path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(
            f"{path}: 'weight_map' is {shown(weight_map)}; expected an object of tensor name → file name. "
            "Download the index again."
        )
    files = {file for file in weight_map.values() if isinstance(file, str)}
    bare = {file for file in files if _is_bare(file, suffix)}
    for tensor, file in weight_map.items():
        # Only a name within the folder: an index from elsewhere must not make us read other files of this machine.
        if not isinstance(file, str) or file not in bare:
            raise FormatError(
                f"{path}: tensor {shown(tensor)} is said to be in {shown(file)}; expected the bare name of a {suffix} "
                f"file in the same folder. Do not trust this checkpoint."
            )
    return weight_map


def _is_bare(file: str, suffix: str) -> bool:
    """Tell the name of a file in the same folder from a path to another."""
    return file.endswith(suffix) and not file.startswith(".") and {"/", "\\", "\0"}.isdisjoint(file)


def _nothing(folder: Storage, names: Sequence[str]) -> SourceError:
    # An index first: it stands for all of its files. Optimizers and the like come last.
    for name in sorted(names, key=lambda name: (not name.endswith(PICKLE_INDEX_SUFFIX), "model" not in name)):
        refuse_pickle(folder.where(name))
    inner = folder.inner()
    if inner:
        return SourceError(
            f"{folder.place} holds no {SUFFIX} file, but its folders {_some(inner)} do. Name one of them."
        )
    return SourceError(
        f"{folder.place} holds no {SUFFIX} file. Expected a checkpoint folder as saved by save_pretrained."
        f"{folder.unseen}"
    )


def refuse_pickle(where: str) -> None:
    """Refuse a file whose name says that it holds pickled weights, where nobody has named it.

    Raises:
        SourceError: it does; says how it is read all the same, and how to convert it. An adapter is not.
    """
    suffix = PurePath(where).suffix.lower()
    if PurePath(where).name == OLD_ADAPTER:
        raise SourceError(
            f"{where} holds an adapter as pickled weights, which are not read. Load it with peft "
            f"(PeftModel.from_pretrained), and save it again (save_pretrained): that writes {ADAPTER}."
        )
    if suffix in PICKLE_SUFFIXES or where.endswith(PICKLE_INDEX_SUFFIX):
        raise SourceError(
            f"{where} holds pickled weights, a format that can carry code; they are read, without ever running code, "
            f"only where the file itself is named: give {where}. Or convert it: AutoModel….from_pretrained(folder)"
            f".save_pretrained(new), or safetensors.torch.save_file."
        )
    if suffix == ".pkl":
        raise SourceError(
            f"{where} is a pickle of whatever kind, which can run code when opened, and is not read. Save its tensors "
            "with safetensors.torch.save_file."
        )


def _some(names: Iterable[str]) -> str:
    return some(map(shown, names), LISTED)


def check_index(folder: Storage, weights: Weights, names: Mapping[str, Collection[str]]) -> None:
    """Verify that files hold what the index says, each tensor once, and nothing else.

    Args:
        folder: where the files lie.
        weights: the files, and the index if there is one.
        names: the tensors that each file holds.

    Raises:
        FormatError: they do not; names the tensor and the files.
    """
    homes: dict[str, str] = {}
    for file, own in names.items():
        twice = next((name for name in own if name in homes), None)
        if twice is not None:
            raise FormatError(
                f"Tensor {shown(twice)} is in both {folder.where(homes[twice])} and {folder.where(file)}; expected "
                f"each tensor in one file. Download the whole checkpoint again, into an empty folder."
            )
        homes.update(dict.fromkeys(own, file))
    if weights.index is None or weights.weight_map == homes:
        return
    for name, file in weights.weight_map.items():
        if homes.get(name) != file:
            elsewhere = f"it is in {homes[name]}" if name in homes else "no file of the checkpoint has it"
            raise FormatError(
                f"{folder.where(weights.index)}: tensor {shown(name)} is said to be in {shown(file)}, but {elsewhere}. "
                f"Index and files do not belong together: download the whole checkpoint again."
            )
    for name, file in homes.items():
        if name not in weights.weight_map:
            raise FormatError(
                f"{folder.where(file)}: tensor {shown(name)} is missing from {weights.index}. "
                f"Index and files do not belong together: download the whole checkpoint again."
            )
