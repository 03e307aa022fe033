"""Which files of a folder hold its weights.

Knows the naming conventions of Hugging Face checkpoints; reads indexes, and no weight.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.strict_json import read_object, shown

__all__ = [
    "ADAPTER",
    "ADAPTER_CONFIG",
    "PICKLE_INDEX_SUFFIX",
    "PICKLE_SUFFIX",
    "PICKLE_SUFFIXES",
    "Weights",
    "check_index",
    "file_names",
    "find_weights",
    "read_index",
    "refuse_pickle",
]

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
# transformers' name, then diffusers'.
STEMS = ("model", "diffusion_pytorch_model")
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
PICKLE_SUFFIX = ".bin"  # of the files of a checkpoint in several, and of its index
PICKLE_INDEX_SUFFIX = ".bin.index.json"
# Names listed in a message before it says how many more there are.
LISTED = 3
LONGEST_HINT = 200


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that hold a model's weights.

    Attributes:
        files: in order of their names.
        index: the index file, if there is one.
        weight_map: the name of the file of each tensor, as the index says; empty without index.
    """

    files: Sequence[Path]
    index: Path | None
    weight_map: Mapping[str, str]


def find_weights(folder: Path) -> Weights:
    """Find the safetensors files that make up the model in `folder`.

    An index wins over other files; ``model`` over other names. Files that an index does not name are not part of the
    model.

    Raises:
        SourceError: there are none, or it is unclear which.
        FormatError: the index is malformed, or names files that are missing or elsewhere.
        UnsupportedError: the folder holds an adapter.
    """
    names = file_names(folder)
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
        f"{folder} holds {len(files)} safetensors files ({_some(files)}) and no single index that says which make up "
        f"the model. Download model{INDEX_SUFFIX}, or name one file."
    )


def file_names(folder: Path) -> Sequence[str]:
    """Return the names of a folder's ordinary files, sorted, without hidden ones.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error


def _single(folder: Path, name: str) -> Weights:
    if name == ADAPTER:
        raise UnsupportedError(
            f"{folder} holds an adapter ({name}), not a whole model. Name the model it was trained on, too: "
            f"BASE+ADAPTER, here {_base_of(folder)}+{folder}."
        )
    return Weights((folder / name,), None, {})


def _base_of(folder: Path) -> str:
    """Return what an adapter says that it was made for, or BASE; a name that is no plain text is no hint."""
    path = folder / ADAPTER_CONFIG
    named = read_object(path).get("base_model_name_or_path") if path.is_file() else None
    return named if isinstance(named, str) and named.isprintable() and 0 < len(named) < LONGEST_HINT else "BASE"


def _indexed(folder: Path, index: str, names: Sequence[str]) -> Weights:
    weights = read_index(folder / index, names)
    files = [file.name for file in weights.files]
    single = index.removesuffix(".index.json")
    if single in names and single not in files:
        raise SourceError(
            f"{folder} holds both {single} and {index}, which names other files ({_some(files)}): two models, "
            f"perhaps one older than the other. Remove one of them, or name the file {folder / single}."
        )
    return weights


def read_index(path: Path, names: Collection[str], suffix: str = SUFFIX) -> Weights:
    """Read an index.

    Args:
        path: the index.
        names: the files that are in its folder.
        suffix: of the files that it may name.

    Raises:
        FormatError: it is malformed, or names files that are missing or elsewhere.
    """
    weight_map = _weight_map(path, suffix)
    files = sorted(set(weight_map.values()))
    missing = sorted({*files}.difference(names))
    if missing:
        raise FormatError(f"{path} names {_some(missing)}, missing from the folder. Download the whole checkpoint.")
    return Weights(tuple(path.parent / name for name in files), path, weight_map)


def _weight_map(path: Path, suffix: str) -> dict[str, str]:
    weight_map = read_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(
            f"{path}: 'weight_map' is {shown(weight_map)}; expected an object of tensor name → file name."
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


def _nothing(folder: Path, names: Sequence[str]) -> SourceError:
    # An index first: it stands for all of its files. Optimizers and the like come last.
    for name in sorted(names, key=lambda name: (not name.endswith(PICKLE_INDEX_SUFFIX), "model" not in name)):
        refuse_pickle(folder / name)
    inner = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*" + SUFFIX)))
    if inner:
        return SourceError(f"{folder} holds no {SUFFIX} file, but its folders {_some(inner)} do. Name one of them.")
    return SourceError(f"{folder} holds no {SUFFIX} file. Expected a checkpoint folder as saved by save_pretrained.")


def refuse_pickle(path: Path) -> None:
    """Refuse a file whose name says that it holds pickled weights, where nobody has named it.

    Raises:
        SourceError: it does; says how it is read all the same, and how to convert it.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES or path.name.endswith(PICKLE_INDEX_SUFFIX):
        raise SourceError(
            f"{path} holds pickled weights, a format that can carry code; they are read, without ever running code, "
            f"only where the file itself is named: give {path}. Or convert it: AutoModel….from_pretrained(folder)"
            f".save_pretrained(new), or safetensors.torch.save_file."
        )
    if path.suffix.lower() == ".pkl":
        raise SourceError(
            f"{path} is a pickle of whatever kind, which can run code when opened, and is not read. Save its tensors "
            "with safetensors.torch.save_file."
        )


def _some(names: Iterable[str]) -> str:
    listed = [shown(name) for name in names]
    more = len(listed) - LISTED
    return ", ".join(listed[:LISTED]) + (f" and {more} more" if more > 0 else "")


def check_index(weights: Weights, names: Mapping[Path, Collection[str]]) -> None:
    """Verify that files hold what the index says, each tensor once, and nothing else.

    Args:
        weights: the files, and the index if there is one.
        names: the tensors that each file holds.

    Raises:
        FormatError: they do not; names the tensor and the files.
    """
    homes: dict[str, Path] = {}
    for file, own in names.items():
        twice = next((name for name in own if name in homes), None)
        if twice is not None:
            raise FormatError(
                f"Tensor {shown(twice)} is in both {homes[twice]} and {file}; expected each tensor in one file."
            )
        homes.update(dict.fromkeys(own, file))
    file_names = {file: file.name for file in names}
    if weights.index is None or weights.weight_map == {name: file_names[file] for name, file in homes.items()}:
        return
    for name, file_name in weights.weight_map.items():
        if name not in homes or homes[name].name != file_name:
            elsewhere = f"it is in {homes[name].name}" if name in homes else "no file of the checkpoint has it"
            raise FormatError(
                f"{weights.index}: tensor {shown(name)} is said to be in {shown(file_name)}, but {elsewhere}. "
                f"Index and files do not belong together: download the whole checkpoint again."
            )
    for name, file in homes.items():
        if name not in weights.weight_map:
            raise FormatError(
                f"{file}: tensor {shown(name)} is missing from {weights.index.name}. "
                f"Index and files do not belong together: download the whole checkpoint again."
            )
