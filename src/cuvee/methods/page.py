"""What a declaration says, in words: the list of needs, one method's page, the table in the docs."""

from collections.abc import Mapping

from cuvee.methods.declare import Method, Parameter

__all__ = ["as_mapping", "needs", "page", "section", "table"]

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


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
                "usual": list(p.bounds.usual) if p.bounds and p.bounds.usual else None,
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
    cost = (
        f"  Reads the inputs {_readings(method)} with the default settings; writes once.\n"
        f"  Works on {_locality(method)}."
    )
    paper = f"\nPaper\n  {method.paper.cite()}\n" if method.paper else ""
    return f"{method.name}\n\n{body}\n\nParameters\n{parameters}\n\nNeeds\n{needed}\n\nCost\n{cost}\n{paper}"


def table(methods: Mapping[str, Method], pages: str = "") -> str:
    """Return a table of methods as Markdown: what each does, its paper, what it needs.

    Args:
        methods: methods by name.
        pages: path of the document that holds their sections, for links.
    """
    lines = ["| method | what it does | paper | needs |", "|---|---|---|---|"]
    for name, method in methods.items():
        paper = f"[{method.paper.venue} {method.paper.year}]({method.paper.url})" if method.paper else "none"
        lines.append(f"| [`{name}`]({pages}#{name}) | {_cell(method.summary)} | {paper} | {_needed(method)} |")
    return "\n".join(lines) + "\n"


def section(method: Method) -> str:
    """Return one method's page as a section of a Markdown document; says what `page` says."""
    body = method.doc.split("\nArgs:")[0].rstrip()
    lines = ["| parameter | values | default | meaning |", "|---|---|---|---|"]
    for p in method.parameters.values():
        each = ", per model" if p.per_model else ""
        lines.append(f"| `{p.name}` | {_cell(_values(p))}{each} | {_default(p)} | {_cell(p.help)} |")
    parameters = "\n".join(lines) if method.parameters else "No parameters."
    paper = f"\n\n**Paper:** {method.paper.cite()}" if method.paper else ""
    cost = f"reads the inputs {_readings(method)} with the default settings; works on {_locality(method)}."
    return f"## {method.name}\n\n{body}\n\n{parameters}\n\n**Needs:** {_needed(method)}.\n\n**Cost:** {cost}{paper}\n"


def _cell(text: str) -> str:
    """Make text fit into a cell of a Markdown table."""
    return text.replace("|", "\\|")


def _needed(method: Method) -> str:
    """List what a method needs beside the models, each with the setting under which it does."""
    found = [_count(*method.models)] if method.models != (1, None) else []
    words = {"base": "a base", "whole-model pass": "passes over the whole model", "seed": "a seed"}
    for need, value in needs(method).items():
        if value != "no":
            name, _, word = value.partition(": ")
            default = ", the default" if word and method.parameters[name].default == word else ""
            found.append(words.get(need, need) + (f" (`{value}`{default})" if word else ""))
    return "; ".join(found) or "nothing else"


def _count(fewest: int, most: int | None) -> str:
    """Say how many models a method takes."""
    if fewest == most:
        return f"exactly {fewest} model{'s' if fewest > 1 else ''}"
    return f"at least {fewest} models" if most is None else f"{fewest} to {most} models"


def _readings(method: Method) -> str:
    """Say how often the inputs are read with the default settings."""
    settings = method.defaults(method.models[0])
    readings = 1 + method.passes(settings)
    if readings == 1:
        return "once"
    small = "" if method.scope(settings) == "model" else ", tensors of a single cell once,"
    return f"at most {readings} times{small}"


def _locality(method: Method) -> str:
    """Say how much of a tensor it needs at a time."""
    return {
        "block": "any block of a tensor at a time",
        "rows": "whole rows at a time",
        "matrix": "whole tensors at a time",
    }[method.locality]


def _line(parameter: Parameter) -> str:
    """Describe one parameter."""
    each = ", per model" if parameter.per_model else ""
    return f"  {parameter.name} ({_values(parameter)}{each}; default {_default(parameter)})\n      {parameter.help}"


def _values(parameter: Parameter) -> str:
    """Say which values a parameter takes."""
    kind = " | ".join(parameter.choices) or _KINDS[parameter.type]
    if parameter.bounds is None:
        return kind
    usual = parameter.bounds.usual
    often = f", usually in [{usual[0]:g}, {usual[1]:g}]" if usual else ""
    return f"{kind} in [{_number(parameter.bounds.low)}, {_number(parameter.bounds.high)}]{often}"


def _number(value: float) -> str:
    """Write a bound: 1e6 rather than 1e+06."""
    return f"{value:g}".replace("e+0", "e").replace("e+", "e")


def _default(parameter: Parameter) -> str:
    """Write a default as recipes have it."""
    return str(parameter.default).lower() if isinstance(parameter.default, bool) else str(parameter.default)
