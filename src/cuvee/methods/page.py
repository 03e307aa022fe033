"""What a declaration says, in words: the list of needs, one method's page, the table in the docs."""

from cuvee.methods.declare import Method, Parameter

__all__ = ["as_mapping", "needs", "page"]


def needs(method: Method) -> dict[str, str]:
    """Return what a method needs: ``yes``, ``no``, or the setting under which it does.

    Keys: ``base``, ``data``, ``labels``, ``gradients``, ``whole-model pass``, ``seed``.
    """
    scope = next((p for p in method.parameters.values() if p.role == "scope"), None)
    whole = "no"
    if scope is not None and "model" in scope.choices:
        whole = "yes" if scope.choices == ("model",) else f"{scope.name}: model"
    base = {"deltas": "yes", "weights": "no"}.get(method.operands)
    if base is None:
        space = next(p for p in method.parameters.values() if p.role == "space")
        base = f"{space.name}: task"
    return {
        "base": base,
        "data": "no",
        "labels": "no",
        "gradients": "no",
        "whole-model pass": whole,
        "seed": "yes" if method.random else "no",
    }


def as_mapping(method: Method) -> dict[str, object]:
    """Return the declaration as plain values, for JSON."""
    return {
        "name": method.name,
        "summary": method.summary,
        "models": list(method.models),
        "needs": needs(method),
        "parameters": [
            {
                "name": p.name,
                "type": p.type.__name__,
                "default": p.default,
                "per_model": p.per_model,
                "bounds": [p.bounds.low, p.bounds.high] if p.bounds else None,
                "choices": list(p.choices) or None,
                "help": p.help,
            }
            for p in method.parameters.values()
        ],
        "paper": method.paper.cite() if method.paper else None,
    }


def page(method: Method) -> str:
    """Return one method's page as text: what it does, parameters, needs, cost, paper."""
    body = method.doc.split("\nArgs:")[0].rstrip()
    parameters = "\n".join(_line(p) for p in method.parameters.values()) or "  none"
    needed = "\n".join(f"  {name}: {value}" for name, value in needs(method).items())
    settings = method.defaults(max(method.models[0], 2) if method.models[1] is None else method.models[0])
    readings = 1 + method.passes(settings)
    cost = (
        f"  Reads the inputs up to {readings} time{'s' if readings > 1 else ''} with the default settings (once for "
        "tensors that fit into a cell of the grid); writes once.\n"
        f"  Works on {_locality(method)}."
    )
    paper = f"\nPaper\n  {method.paper.cite()}\n" if method.paper else ""
    return f"{method.name}\n\n{body}\n\nParameters\n{parameters}\n\nNeeds\n{needed}\n\nCost\n{cost}\n{paper}"


def _locality(method: Method) -> str:
    """Say how much of a tensor it needs at a time."""
    return {
        "block": "any block of a tensor at a time",
        "rows": "whole rows at a time",
        "matrix": "whole tensors at a time",
    }[method.locality]


def _line(parameter: Parameter) -> str:
    """Describe one parameter."""
    kind = (
        " | ".join(parameter.choices) or {bool: "true or false", int: "whole number", float: "number"}[parameter.type]
    )
    if parameter.bounds:
        kind = f"{kind} in [{parameter.bounds.low:g}, {parameter.bounds.high:g}]"
    each = ", per model" if parameter.per_model else ""
    default = str(parameter.default).lower() if isinstance(parameter.default, bool) else parameter.default
    return f"  {parameter.name} ({kind}{each}; default {default})\n      {parameter.help}"
