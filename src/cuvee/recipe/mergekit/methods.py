"""The methods of mergekit, and the methods and settings that give the same numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["METHODS", "SCALED", "Setting", "Translation"]

Kind = type[float] | type[int] | type[bool]


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter of mergekit's.

    Attributes:
        name: what the recipe calls it.
        kind: float, int or bool.
        default: value if nothing is said; None where something has to be.
        per_model: it is said for each model, the base only if that is merged as a model.
        word: makes one of its values what the recipe calls that.
    """

    name: str
    kind: Kind = float
    default: object = None
    per_model: bool = False
    word: Callable[[object], object] | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a share, kept between none and all."""
        return self.word is _share


@dataclass(frozen=True, slots=True)
class Translation:
    """A method of mergekit's.

    Attributes:
        method: name of the method here.
        settings: by mergekit's names.
        base: whether a base is ``"needed"`` or ``"possible"`` for task vectors, is merged as a ``"model"`` like the
            others, or is the ``"first"`` of the models.
        models: fewest and most models, a base that is merged counted.
        always: what the recipe says besides.
        on_task_vectors: what it says besides if there is a possible base.
        idle: parameters that change nothing.
    """

    method: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    base: Literal["needed", "possible", "model", "first"] = "needed"
    models: tuple[int, int | None] = (1, None)
    always: Mapping[str, object] = field(default_factory=dict)
    on_task_vectors: Mapping[str, object] = field(default_factory=dict)
    idle: tuple[str, ...] = ()


def _word(yes: str, no: str) -> Callable[[object], object]:
    return lambda value: yes if value else no


def _share(value: object) -> object:
    """Keep a density within what it can be: beyond that, all or nothing is kept all the same."""
    return min(max(value, 0.0), 1.0) if isinstance(value, float) else value


WEIGHT = Setting("weight", per_model=True)
DENSITY = Setting("density", default=1.0, per_model=True, word=_share)
SCALE = Setting("scale", default=1.0)
VECTORS = {"vectors": "task"}


def _rescale(default: bool) -> Setting:
    return Setting("rescale", bool, default, word=_word("l1", "none"))


def _merge(default: bool) -> Setting:
    """Divide the sum of what agrees by its weights, or leave it."""
    return Setting("merge", bool, default, word=_word("signed_mean", "sum"))


def _normalize(default: bool) -> Setting:
    return Setting("normalize", bool, default)


def _sparse(
    method: str,
    *,
    votes: bool,
    normalize: bool = False,
    rescale: bool,
    more: Mapping[str, Setting] | None = None,
    always: Mapping[str, object] | None = None,
) -> Translation:
    """Make the translation of a method that thins task vectors out, and lets them vote or adds them up."""
    return Translation(
        method,
        {
            "weight": WEIGHT,
            "density": DENSITY,
            "lambda": SCALE,
            "rescale": _rescale(rescale),
            "normalize": _merge(normalize) if votes else _normalize(normalize),
            **(more or {}),
        },
        always={**({"zero_sign": "positive"} if votes else {}), **(always or {})},
        idle=("int8_mask",),
    )


GAMMA = {"gamma": Setting("outliers", default=0.01, per_model=True)}
EPSILON = {"epsilon": Setting("epsilon", default=0.15, per_model=True)}
THRESHOLD = Setting("threshold", default=1e-5)

METHODS: Mapping[str, Translation] = {
    "linear": Translation("linear", {"weight": WEIGHT, "normalize": _normalize(True)}, base="model"),
    "slerp": Translation(
        "slerp",
        {"t": Setting("t")},
        base="first",
        models=(2, 2),
        always={"straight_above": 0.9995, "zero": "orthogonal"},
    ),
    "nuslerp": Translation(
        "nuslerp",
        {
            "weight": WEIGHT,
            "nuslerp_flatten": Setting("flatten", bool, True),
            "nuslerp_row_wise": Setting("row_wise", bool, False),
        },
        base="possible",
        models=(2, 2),
        on_task_vectors=VECTORS,
    ),
    "multislerp": Translation(
        "multislerp",
        {"weight": WEIGHT, "normalize_weights": _normalize(True), "eps": Setting("eps", default=1e-8)},
        base="possible",
        on_task_vectors=VECTORS,
    ),
    "karcher": Translation(
        "karcher",
        {"max_iter": Setting("max_iter", int, 10), "tol": Setting("tol", default=1e-5)},
        base="model",
    ),
    "task_arithmetic": Translation(
        "task_arithmetic",
        {"weight": WEIGHT, "lambda": SCALE, "normalize": _normalize(False)},
        idle=("int8_mask", "density", "rescale"),
    ),
    "ties": _sparse(
        "ties", votes=True, normalize=True, rescale=False, always={"trim_scope": "tensor", "rule": "mergekit"}
    ),
    "dare_linear": _sparse("dare_linear", votes=False, rescale=True),
    "dare_ties": _sparse("dare_ties", votes=True, rescale=True, always={"trim_scope": "tensor"}),
    "breadcrumbs": _sparse("breadcrumbs", votes=False, rescale=False, more=GAMMA, always={"rule": "mergekit"}),
    "breadcrumbs_ties": _sparse("breadcrumbs_ties", votes=True, rescale=False, more=GAMMA, always={"rule": "mergekit"}),
    "della": _sparse("della", votes=True, normalize=True, rescale=True, more=EPSILON),
    "della_linear": _sparse("della_linear", votes=False, rescale=True, more=EPSILON),
    "model_stock": Translation(
        "model_stock",
        {"filter_wise": Setting("scope", bool, False, word=_word("row", "tensor"))},
        models=(2, None),
        always={"extrapolate": True, "eps": 1e-6},
    ),
    "sce": Translation(
        "sce",
        {"select_topk": Setting("density", default=1.0, word=_share)},
        always={"equal_below": 1e-6},
        idle=("int8_mask",),
    ),
    "nearswap": Translation("nearswap", {"t": Setting("t")}, models=(1, 1)),
    "arcee_fusion": Translation("arcee_fusion", {}, models=(1, 1), always={"precision": "single"}),
    "ram": Translation("ram", {"epsilon": THRESHOLD}),
    "ramplus_tl": Translation(
        "ramplus",
        {"epsilon": THRESHOLD, "r": Setting("boost", default=0.1), "alpha": Setting("limit", default=0.2)},
        always={"scope": "tensor"},
    ),
    "passthrough": Translation("copy", base="model", models=(1, 1)),
}
"""By mergekit's names."""

SCALED = Translation(
    "linear",
    {"scale": Setting("weight", default=1.0, per_model=True)},
    base="model",
    models=(1, 1),
    always={"normalize": False},
)
"""``passthrough``, where it has a scale somewhere."""
