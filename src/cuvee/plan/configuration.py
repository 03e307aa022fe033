"""What changes in the configuration of a model when its layers are put together anew.

Configurations say in many ways how many layers a model has. The way is found by its value, the number of layers there
are, among the settings whose names can mean that; or because it is the only one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from cuvee.architectures.layers import stacks
from cuvee.architectures.tied import TEXT_CONFIGS
from cuvee.layouts.stacked import Stacked
from cuvee.sources.sidecars import CONFIG
from cuvee.spec import Source

__all__ = ["everywhere", "joined", "layer_settings"]

Config = Mapping[str, object]
Path = tuple[str, ...]

_COUNT = re.compile(r"num_(?:hidden_|encoder_|decoder_)?layers|n_layers?|(?:en|de)coder_layers|depth|num_blocks")
_SEEING = re.compile(r"vis(?:ion|ual)")
_SIDES = "encoder", "decoder"
_AHEAD = "num_nextn_predict_layers"


def everywhere(config: Config, key: str, value: object) -> dict[str, object]:
    """Return changes that set a key at the top of a configuration, and wherever else it stands."""
    return {key: value} | {
        part: everywhere(inner, key, value)
        for part, inner in config.items()
        if isinstance(inner, Mapping) and any(path[-1] == key for path, _ in _settings(inner))
    }


def joined(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    """Return the changes of two mappings, parts of a configuration that both change included."""
    result = {**one, **other}
    for key in one.keys() & other.keys():
        first, second = one[key], other[key]
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            result[key] = joined(first, second)
    return result


def layer_settings(
    stacked: Stacked, sources: Mapping[str, Source], donor: str
) -> tuple[dict[str, object], Sequence[str]]:
    """Return what changes in the donor's configuration: numbers of layers, and lists that have a value for each.

    Layers beyond the number that a configuration says predict tokens further ahead. Those that end the output are not
    counted either.

    Args:
        stacked: the layers of the output.
        sources: the models by label.
        donor: label of the one whose configuration goes with the merge.

    Returns:
        The changes, and what the user should know of them.
    """
    config = sources[donor].config
    had = stacks(sources[donor].header)
    changes: dict[str, object] = {}
    notes = []
    for stack, count in stacked.counts.items() if config else ():
        has = had.get(stack, 0)
        paths = _count_keys(config, stack, has)
        if not paths:
            notes.append(
                f"The merge has {count} layers in '{stack}', and no setting of the configuration, which comes from "
                f"'{donor}', is known to say so. Check {CONFIG} before you load the merge."
            )
        for path in paths:
            said = dict(_settings(config))[path]
            ahead = _ahead(stacked.origins[stack], path, sources)
            origins = stacked.origins[stack][: count - ahead]
            _set(changes, path, len(origins))
            if said != has:
                notes.append(
                    f"{'.'.join(path)} says {said} where '{donor}' has {has} layers in '{stack}'; it becomes "
                    f"{len(origins)}, and the merge has {count}."
                )
            for listed, values in _settings(config):
                if listed[:-1] != path[:-1]:
                    continue
                if listed[-1] == _AHEAD:
                    _set(changes, listed, ahead)
                elif isinstance(values, list) and values and len(values) in (has, said):
                    _set(changes, listed, _restacked(listed, origins, sources, values))
    return changes, notes


def _settings(config: Config, above: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every setting of a configuration and of its parts, with the keys that lead to it."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _settings(value, (*above, key))
        else:
            yield (*above, key), value


def _count_keys(config: Config, stack: str, count: int) -> list[Path]:
    """Return the settings that say how many layers a stack has: by their value, or the only one that may."""
    found = [path for path, value in _settings(config) if _COUNT.fullmatch(path[-1]) and type(value) is int]
    nearest = min((_distance(path, stack) for path in found), default=())
    found = [path for path in found if _distance(path, stack) == nearest]
    found = _of_side(found, stack)
    by_value = [path for path in found if dict(_settings(config))[path] == count]
    return by_value or (found if len(found) == 1 else [])


def _of_side(paths: list[Path], stack: str) -> list[Path]:
    """Return the settings that speak of the encoder or the decoder as a stack does, or else of neither."""
    for side in _SIDES:
        if side in stack and (own := [path for path in paths if side in path[-1]]):
            return own
    return [path for path in paths if not any(side in path[-1] for side in _SIDES)] or paths


def _distance(path: Path, stack: str) -> tuple[int, ...]:
    """Return how far a setting is from a stack, for each part of the configuration that it is in.

    The part that the stack's name mentions first is nearest, then what is about text or the whole model.
    """
    distances = []
    for part in path[:-1]:
        word = _SEEING.pattern if _SEEING.search(part) else re.escape(part.removesuffix("_config"))
        mentioned = re.search(word, stack)
        distances.append(mentioned.start() if mentioned else len(stack) + (part not in TEXT_CONFIGS))
    return tuple(distances) or (len(stack),)


def _ahead(origins: Sequence[Mapping[str, int]], path: Path, sources: Mapping[str, Source]) -> int:
    """Return how many of the last layers are beyond the number that their models' configurations say."""
    for ahead, origin in enumerate(reversed(origins)):
        label, index = next(iter(origin.items()))
        said = dict(_settings(sources[label].config)).get(path)
        if not isinstance(said, int) or index < said:
            return ahead
    return 0


def _restacked(
    path: Path, origins: Sequence[Mapping[str, int]], sources: Mapping[str, Source], otherwise: Sequence[object]
) -> list[object]:
    """Return a list of one value for each layer: that of the first model that the layer is made of."""
    values = []
    for origin in origins:
        label, index = next(iter(origin.items()))
        own = dict(_settings(sources[label].config)).get(path)
        listed = own if isinstance(own, list) and index < len(own) else otherwise
        values.append(listed[min(index, len(listed) - 1)])
    return values


def _set(changes: dict[str, object], path: Path, value: object) -> None:
    """Put a value where keys lead to."""
    *above, key = path
    inner: dict[str, object] = changes
    for part in above:
        inner = inner.setdefault(part, {})  # type: ignore[assignment]
    inner[key] = value
