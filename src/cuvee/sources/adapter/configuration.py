"""What ``adapter_config.json`` says: kind, ranks, scalings. Knows no tensor.

PEFT's options are many and grow. Those that do not touch the merged weights are listed and ignored; what is neither
listed nor read here is refused unless it is unset, so an option of tomorrow is an error and not a wrong merge.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cuvee.errors import FormatError, UnsupportedError
from cuvee.sources.adapter.patterns import names_end, names_whole
from cuvee.sources.strict_json import parse_object, shown

__all__ = ["MERGE_FIRST", "Configuration", "read_configuration"]

MERGE_FIRST = (
    "Merge it with peft (PeftModel.from_pretrained, merge_and_unload, save_pretrained) and name the merged folder."
)

KINDS = ("LORA", "IA3")
# What says where adapters are, how they were trained or loaded, and not what they are.
WITHOUT_EFFECT = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules",
    "inference_mode", "init_ia3_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout",
    "lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config",
    "target_modules", "task_type",
})  # fmt: skip
READ = frozenset({
    "alpha_pattern", "bias", "fan_in_fan_out", "feedforward_modules", "init_lora_weights", "lora_alpha", "lora_bias",
    "modules_to_save", "peft_type", "r", "rank_pattern", "target_parameters", "trainable_token_indices", "use_dora",
    "use_rslora",
})  # fmt: skip
MOST_RANK = 2**31  # beyond that no file holds the factors, and numbers overflow
# Ways to begin that leave the base as it was. Others change it, and the adapter fits the changed base only.
BEGINNINGS = (None, True, False, "true", "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A verified configuration.

    Attributes:
        where: the file, for messages.
        kind: ``"LORA"`` or ``"IA3"``.
        rank: of modules that no pattern names.
        alpha: of modules that no pattern names.
        rank_pattern: expression of module names to rank, in order.
        alpha_pattern: expression of module names to alpha, in order.
        rank_stabilised: scale by alpha over the root of the rank, instead of the rank.
        has_magnitudes: DoRA.
        fan_in_fan_out: weights are stored (in, out), where shapes leave it open.
        target_parameters: ends of the names of parameters that have factors without a module of their own.
        token_indices: rows of the embedding that are replaced, or rows by module.
        modules_to_save: ends of the names of modules that are there as a whole.
        feedforward: ends of the names of modules whose inputs (IA)^3 scales, or one expression.
        base: what the adapter was made for, as its author called it; may be empty.
        options: all of it, as it is written.
    """

    where: str
    kind: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    has_magnitudes: bool
    fan_in_fan_out: bool
    target_parameters: Sequence[str]
    token_indices: Sequence[int] | Mapping[str, Sequence[int]]
    modules_to_save: Sequence[str]
    feedforward: Sequence[str] | str
    base: str
    options: Mapping[str, object]

    def scaling(self, name: str) -> tuple[int, float]:
        """Return rank and scaling of a module or parameter, by its full name.

        The first pattern that fits the end of the name wins, as in PEFT.
        """
        rank = next((value for each, value in self._ranks if each.match(name)), self.rank)
        alpha = next((value for each, value in self._alphas if each.match(name)), self.alpha)
        return rank, alpha / (math.sqrt(rank) if self.rank_stabilised else rank)

    def scales_inputs(self, module: str) -> bool:
        """Say whether (IA)^3 scales the inputs of a module, or else its outputs."""
        if isinstance(self.feedforward, str):
            return bool(names_whole(self.feedforward, self.where).match(module))
        return any(module.endswith(end) for end in self.feedforward)

    def saves(self, name: str) -> bool:
        """Say whether a tensor is of a module that was saved as a whole."""
        return any(f".{module}." in f".{name}" for module in self.modules_to_save)

    def parameters(self, module: str) -> Sequence[str]:
        """Return the parameters of a module that have factors, as the configuration says."""
        ends = (target.rpartition(".")[::2] for target in self.target_parameters)
        return list(dict.fromkeys(name for end, name in ends if not end or f".{module}".endswith(f".{end}")))

    def tokens(self, module: str) -> Sequence[int] | None:
        """Return the rows that are replaced in a module, or None if the configuration names none for it."""
        if not isinstance(self.token_indices, Mapping):
            return self.token_indices or None
        fitting = (rows for end, rows in self.token_indices.items() if f".{module}".endswith(f".{end}"))
        return next(fitting, None)

    @cached_property
    def _ranks(self) -> list[tuple[re.Pattern[str], int]]:
        return [(names_end(pattern, self.where), rank) for pattern, rank in self.rank_pattern.items()]

    @cached_property
    def _alphas(self) -> list[tuple[re.Pattern[str], float]]:
        return [(names_end(pattern, self.where), alpha) for pattern, alpha in self.alpha_pattern.items()]


def read_configuration(raw: bytes, where: str) -> Configuration:
    """Read and verify the configuration of an adapter.

    Args:
        raw: the file's content.
        where: the file, for messages.

    Raises:
        FormatError: it is not such a configuration.
        UnsupportedError: it asks for what is not read here; names the option and says what to do.
    """
    fields = parse_object(raw, where)
    kind = fields.get("peft_type")
    if kind not in KINDS:
        raise UnsupportedError(
            f"{where}: 'peft_type' is {shown(kind)}; only {' and '.join(KINDS)} are read. {MERGE_FIRST}"
        )
    _refuse_options(where, fields)
    get = _Fields(where, fields)
    found = Configuration(
        where=where,
        kind=str(kind),
        rank=get.rank("r", fields.get("r", 8)),
        alpha=get.number("lora_alpha", fields.get("lora_alpha", 8)),
        rank_pattern={key: get.rank("rank_pattern", value) for key, value in get.table("rank_pattern").items()},
        alpha_pattern={key: get.number("alpha_pattern", value) for key, value in get.table("alpha_pattern").items()},
        rank_stabilised=get.switch("use_rslora"),
        has_magnitudes=get.switch("use_dora"),
        fan_in_fan_out=get.switch("fan_in_fan_out"),
        target_parameters=get.words("target_parameters"),
        token_indices=get.indices("trainable_token_indices"),
        modules_to_save=get.words("modules_to_save"),
        feedforward=get.words("feedforward_modules", or_text=True),
        base=str(fields.get("base_model_name_or_path") or ""),
        options=fields,
    )
    found.scaling("")  # patterns are compiled now: what is wrong with them is said before anything else
    found.scales_inputs("")
    return found


def _refuse_options(where: str, fields: Mapping[str, object]) -> None:
    """Refuse options that change what an adapter does and are not read here."""
    for key, value in fields.items():
        if key not in WITHOUT_EFFECT and key not in READ and value not in (None, False, "", [], {}):
            raise UnsupportedError(f"{where}: the option '{key}' ({shown(value)}) is not read. {MERGE_FIRST}")
    start = fields.get("init_lora_weights")
    if (start.lower() if isinstance(start, str) else start) not in BEGINNINGS:
        raise UnsupportedError(
            f"{where}: 'init_lora_weights' is {shown(start)}: the adapter was trained on a base that this way to begin "
            "had changed, and does not fit the base as it is. Convert it first (peft: save_pretrained with "
            "path_initial_model_for_weight_conversion), or merge it with peft."
        )


class _Fields:
    """Values of a configuration, each of the type that is expected."""

    def __init__(self, where: str, fields: Mapping[str, object]) -> None:
        self._where = where
        self._fields = fields

    def _wrong(self, key: str, expected: str) -> FormatError:
        return FormatError(
            f"{self._where}: '{key}' is {shown(self._fields.get(key))}; expected {expected}. Correct it, or save the "
            "adapter again with peft."
        )

    def rank(self, key: str, value: object) -> int:
        """Return a rank."""
        if type(value) is not int or not 1 <= value <= MOST_RANK:
            raise self._wrong(key, "whole numbers from 1")
        return value

    def number(self, key: str, value: object) -> float:
        """Return a finite number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
            raise self._wrong(key, "finite numbers")
        return float(value)

    def switch(self, key: str) -> bool:
        """Return a yes or no; no if it is not given."""
        value = self._fields.get(key)
        if value not in (None, True, False):
            raise self._wrong(key, "true or false")
        return bool(value)

    def table(self, key: str) -> Mapping[str, object]:
        """Return an object; empty if it is not given."""
        value = self._fields.get(key) or {}
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def words(self, key: str, *, or_text: bool = False) -> Sequence[str]:
        """Return a list of texts; empty if it is not given. Or one text, where that has a meaning of its own."""
        value = self._fields.get(key) or []
        if or_text and isinstance(value, str):
            return value
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            raise self._wrong(key, "a list of texts")
        return value

    def indices(self, key: str) -> Sequence[int] | Mapping[str, Sequence[int]]:
        """Return a list of row numbers, or one for each of several modules; empty if it is not given."""
        value = self._fields.get(key) or []
        lists = list(value.values()) if isinstance(value, dict) else [value]
        for rows in lists:
            if not isinstance(rows, list) or any(type(row) is not int or row < 0 for row in rows):
                raise self._wrong(key, "a list of row numbers, or one for each module")
            if len(set(rows)) < len(rows):
                raise self._wrong(key, "each row once")
        return value  # type: ignore[return-value]  # verified above, member by member
