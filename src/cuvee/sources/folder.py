"""Which files of a folder hold its weights, wherever the folder lies.

Knows the naming conventions of Hugging Face checkpoints; reads indexes, and no weight.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.storage import Storage
from cuvee.sources.strict_json import parse_object, shown

__all__ = ["PICKLE_SUFFIXES", "Weights", "find_weights", "refuse_pickle"]

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
# transformers' name, then diffusers'.
STEMS = ("model", "diffusion_pytorch_model")
ADAPTER = "adapter_model.safetensors"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
# Names listed in a message before it says how many more there are.
LISTED = 3


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
    indexes = [name for name in names if name.endswith(INDEX_SUFFIX)]
    files = [name for name in names if name.endswith(SUFFIX)]
    if len(indexes) == 1:
        return _indexed(folder, indexes[0], names)
    if len(files) == 1:
        return _single(folder, files[0])
    if not files:
        raise _nothing(folder, names)
    raise SourceError(
        f"{folder.place} holds {len(files)} safetensors files ({_some(files)}) and no single index that says which "
        f"make up the model. Download model{INDEX_SUFFIX}, or name one file."
    )


def _single(folder: Storage, name: str) -> Weights:
    if name == ADAPTER:
        raise UnsupportedError(
            f"{folder.place} holds an adapter ({name}), not a whole model. Adapters are read in a later release; "
            f"until then merge it into its base first (peft: merge_and_unload, then save_pretrained)."
        )
    return Weights((name,), None, {})


def _indexed(folder: Storage, index: str, names: Sequence[str]) -> Weights:
    where = folder.where(index)
    weight_map = _weight_map(folder.small(index), where)
    files = sorted(set(weight_map.values()))
    missing = sorted({*files}.difference(names))
    if missing:
        raise FormatError(f"{where} names {_some(missing)}, missing from the folder. {folder.remedy}")
    single = index.removesuffix(".index.json")
    if single in names and single not in files:
        raise SourceError(
            f"{folder.place} holds both {single} and {index}, which names other files ({_some(files)}): two models, "
            f"perhaps one older than the other. Remove one of them, or name the file {folder.where(single)}."
        )
    return Weights(tuple(files), index, weight_map)


def _weight_map(raw: bytes, path: str) -> dict[str, str]:
    weight_map = parse_object(raw, path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(
            f"{path}: 'weight_map' is {shown(weight_map)}; expected an object of tensor name → file name."
        )
    files = {file for file in weight_map.values() if isinstance(file, str)}
    bare = set(filter(_is_bare, files))
    for tensor, file in weight_map.items():
        # Only a name within the folder: an index from elsewhere must not make us read other files of this machine.
        if not isinstance(file, str) or file not in bare:
            raise FormatError(
                f"{path}: tensor {shown(tensor)} is said to be in {shown(file)}; expected the bare name of a {SUFFIX} "
                f"file in the same folder. Do not trust this checkpoint."
            )
    return weight_map


def _is_bare(file: str) -> bool:
    """Tell the name of a file in the same folder from a path to another."""
    return file.endswith(SUFFIX) and not file.startswith(".") and {"/", "\\", "\0"}.isdisjoint(file)


def _nothing(folder: Storage, names: Sequence[str]) -> SourceError:
    for name in names:
        refuse_pickle(folder.where(name))
    inner = folder.inner()
    if inner:
        return SourceError(
            f"{folder.place} holds no {SUFFIX} file, but its folders {_some(inner)} do. Name one of them."
        )
    return SourceError(
        f"{folder.place} holds no {SUFFIX} file. Expected a checkpoint folder as saved by save_pretrained."
    )


def refuse_pickle(where: str) -> None:
    """Refuse a file whose name says that it holds pickled weights.

    Raises:
        SourceError: it does; says how to convert it.
    """
    if PurePath(where).suffix.lower() in PICKLE_SUFFIXES:
        raise SourceError(
            f"{where} holds pickled weights, which can run code when opened; only {SUFFIX} is read. If you trust it, "
            f"convert it: AutoModel….from_pretrained(folder).save_pretrained(new), or safetensors.torch.save_file."
        )


def _some(names: Iterable[str]) -> str:
    listed = [shown(name) for name in names]
    more = len(listed) - LISTED
    return ", ".join(listed[:LISTED]) + (f" and {more} more" if more > 0 else "")
