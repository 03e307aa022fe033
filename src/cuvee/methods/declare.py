"""A method's signature is its declaration.

::

    @method(paper=Paper(...))
    def task_arithmetic(deltas: Deltas, *, weight: PerModel[Weight] = each(1.0), scale: Scale = 1.0) -> Tensor:
        ...

Positional parameters are what the driver hands over: the operands (`Weights`, `Deltas` or `Vectors`), and, if asked
for, the `Position` of the cell and the `Draws` of a random method. Keyword-only parameters are what a user may set,
with bounds in their types. Everything else that needs to know about a method (checks, help, docs, plan, laws) reads it
from the `Method` made here.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from cuvee.plugins.paper import Paper
from cuvee.plugins.registry import Registry
from cuvee.plugins.signature import Range, argument_help
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Position
from cuvee.tensors.random import Key

__all__ = [
    "METHODS",
    "Deltas",
    "Density",
    "Draws",
    "Method",
    "Paper",
    "Parameter",
    "PerModel",
    "Range",
    "Rescale",
    "Scale",
    "Scope",
    "Space",
    "Vectors",
    "Weight",
    "Weights",
    "each",
    "method",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])
Role = Literal["value", "scope", "space"]


@dataclass(frozen=True, slots=True)
class _Marker:
    """Gives an annotated type its meaning for the driver."""

    meaning: str


@dataclass(frozen=True, slots=True)
class _Each(Generic[T]):
    """Default of a per-model parameter: the same value for every model."""

    value: T


def each(value: T) -> Sequence[T]:
    """Default of a per-model parameter: the same value for every model."""
    return cast(Sequence[T], _Each(value))


Weights = Annotated[Sequence[Operand], _Marker("weights")]
"""The models' weights; the method returns merged weights."""
Deltas = Annotated[Sequence[Operand], _Marker("deltas")]
"""The models' task vectors (model minus base); the method returns a merged task vector, to which the driver adds the
base."""
Vectors = Annotated[Sequence[Operand], _Marker("vectors")]
"""Weights or task vectors, as the method's `Space` parameter says."""

PerModel = Annotated[Sequence[T], _Marker("per model")]
"""One value for each model; a user may give one for all, a list, or a mapping from labels."""
Scope = Annotated[T, _Marker("scope")]
"""Over what the method's passes are taken: ``"model"``, ``"tensor"``, ``"row"`` (the last axis) or ``"column"`` (the
first axis; its operands then lie in the tensor's rows, and what it asks is something for each column)."""
Space = Annotated[T, _Marker("space")]
"""Which vectors the method works on: ``"parameters"`` or ``"task"``."""

FACTORS = Range(-1e6, 1e6, usual=(-10.0, 10.0))  # what lies beyond the usual is odd, beyond the ends a slip of the hand
Weight = Annotated[float, FACTORS]
Density = Annotated[float, Range(0.0, 1.0)]
Scale = Annotated[float, FACTORS]
Rescale = Literal["probability", "l1", "none"]
"""How a random method makes up for the entries that it drops."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What a random method draws from.

    Attributes:
        keys: one stream of draws per model, named by the recipe's seed, the model's label and the tensor.
        start: index of the cell's first element in each stream.
    """

    keys: Sequence[Key]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A setting a user may give.

    Attributes:
        name: its name in recipes.
        type: float, int, bool or str.
        default: value when not given; for a per-model parameter the value of each model.
        bounds: interval of a number, or None.
        choices: allowed words of a str, else empty.
        per_model: one value for each model.
        role: whether the driver reads it too: the scope of passes or the space of the operands.
        help: what the docstring says of it.
    """

    name: str
    type: type
    default: object
    bounds: Range | None
    choices: tuple[str, ...]
    per_model: bool
    role: Role
    help: str

    @property
    def interpolates(self) -> bool:
        """Whether values may be interpolated over layers."""
        return self.type is float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Method:
    """A merge method, as declared.

    Attributes:
        name: its name in recipes.
        function: operands and parameters to the merged cell; a generator function if it takes passes.
        paper: where it was published, or None.
        summary: first line of its docstring.
        doc: its whole docstring.
        operands: ``"weights"``, ``"deltas"`` or ``"vectors"``.
        wants: what the driver hands over after the operands, in order: ``"position"``, ``"draws"``.
        parameters: by name.
        models: fewest and most models it takes; None is no limit.
        passes: the most passes over its domain, before the one that merges, for given parameters; samples do not count.
        usual: how many it takes with models as they usually are.
        locality: ``"block"`` (any elements), ``"rows"`` (whole rows) or ``"matrix"`` (the whole tensor) at a time.
        pooled: parameters that its passes depend on: tensors that differ in them are not pooled in model scope.
        identity: parameters with which n equal models give that model back.
        average: share of each model in a plain average that goes with given parameters, for tensors the method is not
            meant for (running statistics of normalisation layers).
        check: looks at all parameters together; returns what is wrong with them, or an empty string.
        symmetric: the order of the models (with their parameters) does not matter.
        any_dtype: it moves raw elements without looking at them.
        combination: with given parameters, the factor on each of n operands whose sum it returns; None if it is not a
            weighted sum. Such a method merges the factors of adapters as it merges what they stand for.
    """

    name: str
    function: Callable[..., object]
    paper: Paper | None
    summary: str
    doc: str
    operands: Literal["weights", "deltas", "vectors"]
    wants: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    models: tuple[int, int | None]
    passes: Callable[[Mapping[str, Any]], int]
    usual: Callable[[Mapping[str, Any]], int]
    locality: Literal["block", "rows", "matrix"]
    pooled: tuple[str, ...]
    identity: Callable[[int], Mapping[str, Any]]
    average: Callable[[Mapping[str, Any], int], Sequence[float]]
    check: Callable[[Mapping[str, Any]], str]
    symmetric: bool
    any_dtype: bool
    combination: Callable[[Mapping[str, Any], int], Sequence[float]] | None

    def space(self, parameters: Mapping[str, object]) -> Literal["weights", "deltas"]:
        """Return which vectors it works on with these parameters."""
        if self.operands != "vectors":
            return self.operands
        return "deltas" if self._role("space", parameters) == "task" else "weights"

    def scope(self, parameters: Mapping[str, object]) -> Literal["model", "tensor", "row", "column"]:
        """Return over what its passes are taken with these parameters."""
        return cast(Literal["model", "tensor", "row", "column"], self._role("scope", parameters) or "tensor")

    def _role(self, role: Role, parameters: Mapping[str, object]) -> object:
        return next((parameters[p.name] for p in self.parameters.values() if p.role == role), None)

    @property
    def by_rows(self) -> bool:
        """Whether it can take its passes over rows, each by itself."""
        return any(p.role == "scope" and "row" in p.choices for p in self.parameters.values())

    def over_rows(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return parameters with which its passes are taken over rows, each by itself."""
        return {**parameters, **{p.name: "row" for p in self.parameters.values() if p.role == "scope"}}

    @property
    def random(self) -> bool:
        """Whether its result depends on the seed."""
        return "draws" in self.wants

    def defaults(self, num_models: int) -> dict[str, object]:
        """Return every parameter's default; per-model ones as a list of `num_models`."""
        return {p.name: [p.default] * num_models if p.per_model else p.default for p in self.parameters.values()}


METHODS: Registry[Method] = Registry("method", package="cuvee.methods", group="cuvee.methods")


def _share_of_weights(parameters: Mapping[str, Any], num_models: int) -> Sequence[float]:
    """Average by `weight` where every one is positive or zero and they add up to something, else equally."""
    weights = parameters.get("weight", [1.0] * num_models)
    total = sum(weights)
    if min(weights) < 0 or total <= 0:
        return [1 / num_models] * num_models
    return [w / total for w in weights]


def method(
    *,
    paper: Paper | None = None,
    models: tuple[int, int | None] = (1, None),
    passes: Callable[[Mapping[str, Any]], int] = lambda _: 0,
    usual: Callable[[Mapping[str, Any]], int] | None = None,
    locality: Literal["block", "rows", "matrix"] = "block",
    pooled: Sequence[str] = (),
    identity: Callable[[int], Mapping[str, Any]] = lambda _: {},
    average: Callable[[Mapping[str, Any], int], Sequence[float]] = _share_of_weights,
    check: Callable[[Mapping[str, Any]], str] = lambda _: "",
    symmetric: bool = True,
    any_dtype: bool = False,
    combination: Callable[[Mapping[str, Any], int], Sequence[float]] | None = None,
) -> Callable[[F], F]:
    """Declare a function to be a merge method. See `Method` for the arguments; `usual` is `passes` if not given.

    Raises:
        TypeError: the signature or docstring leaves something undeclared, or the name is taken.
    """

    def declare(function: F) -> F:
        doc = METHODS.documented(function)
        operands, wants, parameters = _read_signature(function, argument_help(doc))
        made = Method(
            name=function.__name__,
            function=function,
            paper=paper,
            summary=doc.splitlines()[0],
            doc=doc,
            operands=operands,
            wants=wants,
            parameters=MappingProxyType(parameters),
            models=models,
            passes=passes,
            usual=usual or passes,
            locality=locality,
            pooled=tuple(pooled),
            identity=identity,
            average=average,
            check=check,
            symmetric=symmetric,
            any_dtype=any_dtype,
            combination=combination,
        )
        METHODS.add(made)
        return function

    return declare


def _read_signature(
    function: Callable[..., object], helps: Mapping[str, str]
) -> tuple[Literal["weights", "deltas", "vectors"], tuple[str, ...], dict[str, Parameter]]:
    """Split a method's signature into its operands, what else it wants from the driver, and its parameters."""
    hints = _hints(function)
    signature = inspect.signature(function).parameters.values()
    given = [p.name for p in signature if p.kind is not p.KEYWORD_ONLY]
    operands = _marker(hints[given[0]]) if given else ""
    if operands not in ("weights", "deltas", "vectors"):
        raise TypeError(f"method '{function.__name__}': its first parameter must be Weights, Deltas or Vectors")
    kinds = {Position: "position", Draws: "draws"}
    unknown = [name for name in given[1:] if hints[name] not in kinds]
    if unknown:
        raise TypeError(f"method '{function.__name__}': '{unknown[0]}' must be a Position, Draws, or keyword-only")
    parameters = {
        p.name: _read_parameter(function.__name__, p, hints[p.name], helps)
        for p in signature
        if p.kind is p.KEYWORD_ONLY
    }
    return cast(Any, operands), tuple(kinds[hints[name]] for name in given[1:]), parameters


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    """Resolve a method's annotations; the return type may name a library that is imported for type checkers only."""
    annotations = {k: v for k, v in function.__annotations__.items() if k != "return"}
    holder = type("holder", (), {"__annotations__": annotations, "__module__": function.__module__})
    return get_type_hints(holder, globalns=getattr(function, "__globals__", None), include_extras=True)


def _marker(hint: Any) -> str:
    """Return the meaning that a marker gives an annotation, or an empty string."""
    return next((m.meaning for m in getattr(hint, "__metadata__", ()) if isinstance(m, _Marker)), "")


def _read_parameter(method_name: str, parameter: inspect.Parameter, hint: Any, helps: Mapping[str, str]) -> Parameter:
    """Read one keyword-only parameter."""
    meaning = _marker(hint)
    if meaning == "per model":
        hint = get_args(hint.__origin__)[0]
    bounds = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Range)), None)
    plain = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    choices = tuple(get_args(plain)) if get_origin(plain) is Literal else ()
    kind = str if choices else plain
    if kind not in (float, int, bool, str) or parameter.default is parameter.empty or parameter.name not in helps:
        raise TypeError(
            f"method '{method_name}': parameter '{parameter.name}' needs a type of float, int, bool or Literal words, "
            "a default, and a line under Args in the docstring"
        )
    default = parameter.default.value if isinstance(parameter.default, _Each) else parameter.default
    return Parameter(
        name=parameter.name,
        type=kind,
        default=default,
        bounds=bounds,
        choices=choices,
        per_model=meaning == "per model",
        role=meaning if meaning in ("scope", "space") else "value",  # type: ignore[arg-type]
        help=helps[parameter.name],
    )
