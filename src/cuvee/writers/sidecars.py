"""The files beside the weights of an output: those of the base, with a configuration that tells the truth about it."""

import json
from collections.abc import Mapping

from cuvee.errors import OutputError
from cuvee.sources.sidecars import CODE_SUFFIX, CONFIG, is_of_diffusers
from cuvee.spec import DType, File

__all__ = ["sidecar_files"]

# transformers 5 calls it "dtype", earlier releases "torch_dtype".
DTYPE_KEYS = ("dtype", "torch_dtype")
# What a model can be built in. A model whose weights are stored in 8 bits is still built in the type its configuration
# names.
BUILDABLE = frozenset({"F64", "F32", "F16", "BF16"})
# Parts of a model (text_config, vision_config, ...) have an element type too; a quantisation's is its own business.
PART_SUFFIX = "_config"
NOT_A_PART = "quantization_config"
# A source has read it when it was opened, and would have refused it.
CHANGED = "It has changed while the merge ran; merge again when nothing writes to it."


def sidecar_files(
    sources: Mapping[str, File],
    *,
    dtype: DType | None,
    custom_code: bool = False,
    config_updates: Mapping[str, object] | None = None,
) -> dict[str, bytes]:
    """Return the files to put beside merged weights, by name.

    All are copied byte by byte except ``config.json`` where something in it changes. ``auto_map`` in it stays even if
    the code it points to does not travel: it says what the model needs.

    Args:
        sources: sidecars of the model they come from.
        dtype: element type of all floating-point weights of the output; None if there are several.
        custom_code: take ``*.py`` along, which transformers may run when it loads the model.
        config_updates: keys to set in ``config.json``, such as another number of layers; mappings are for its parts.

    Raises:
        SourceError: a file cannot be fetched from elsewhere.
        OutputError: a file cannot be read, or the configuration is not a JSON object.
    """
    files = {}
    for name, path in sources.items():
        if custom_code or path.suffix != CODE_SUFFIX:
            try:
                files[name] = path.read_bytes()
            except OSError as error:
                raise OutputError(f"{path} cannot be copied: {error.strerror}.") from error
    if CONFIG in files:
        files[CONFIG] = _updated(files[CONFIG], sources[CONFIG], dtype, config_updates or {})
    return files


def _updated(raw: bytes, path: File, dtype: DType | None, updates: Mapping[str, object]) -> bytes:
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{path} is not valid JSON any more: {error}. {CHANGED}") from error
    if not isinstance(config, dict):
        raise OutputError(f"{path} is not an object any more but JSON of type {type(config).__name__}. {CHANGED}")
    changes: dict[str, object] = {}
    if dtype is not None and dtype.name in BUILDABLE:
        changes |= dict.fromkeys(DTYPE_KEYS, dtype.torch_name)
        # The weights of a diffusers model say what type they have, and a key that its class does not know is warned of.
        if not is_of_diffusers(config) and not any(key in config for key in DTYPE_KEYS):
            config = {**config, DTYPE_KEYS[0]: None}
    changed = _with(_changed(config, changes), updates)
    if changed == json.loads(raw):
        return raw
    return (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()


def _changed(config: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Replace values wherever their keys stand: at the top, and in the configurations of parts."""
    changed: dict[str, object] = {}
    for key, value in config.items():
        is_part = key.endswith(PART_SUFFIX) and key != NOT_A_PART
        if is_part and isinstance(value, dict):
            changed[key] = _changed(value, changes)
        else:
            changed[key] = changes.get(key, value)
    return changed


def _with(config: Mapping[str, object], updates: Mapping[str, object]) -> dict[str, object]:
    """Set keys of a configuration and of its parts."""
    changed = dict(config)
    for key, value in updates.items():
        part = changed.get(key)
        changed[key] = _with(part if isinstance(part, dict) else {}, value) if isinstance(value, Mapping) else value
    return changed
