"""What is said of a score, from its declaration: for the terminal, for documents, as plain values."""

from collections.abc import Mapping

from cuvee.evaluate.declare import Parameter, Score

__all__ = ["as_mapping", "default_of", "page", "section", "table", "values_of"]

KINDS: Mapping[str, str] = {
    "text": "file of text",
    "table": "file (.jsonl, .csv, .tsv)",
    "folder": "folder",
    "int": "whole number",
    "float": "number",
    "bool": "true, false",
    "str": "text",
    "words": "words with +",
    "ints": "whole numbers with +",
}


def as_mapping(score: Score) -> dict[str, object]:
    """Return a score's declaration as plain values."""
    return {
        "name": score.name,
        "summary": score.summary,
        "doc": score.doc,
        "models": list(score.models),
        "extra": score.extra,
        "paper": score.paper.cite() if score.paper else None,
        "parameters": [
            {
                "name": p.name,
                "kind": p.kind,
                "required": p.is_required,
                "default": None if p.is_required else default_of(p),
                "choices": list(p.choices),
                "bounds": [p.bounds.low, p.bounds.high] if p.bounds else None,
                "column_of": p.column or None,
                "help": p.help,
            }
            for p in score.parameters.values()
        ],
    }


def page(score: Score) -> str:
    """Return a score's page for the terminal."""
    body = score.doc.split("\nArgs:")[0].rstrip()
    settings = "\n".join(_line(p) for p in score.parameters.values())
    paper = f"\n\nPaper\n  {score.paper.cite()}" if score.paper else ""
    kinds = " or ".join(need.replace("_", " ") for need in score.models)
    return (
        f"{score.name}\n\n{body}\n\nMeasures\n  models of the kind: {kinds}\n\nSettings\n{settings}\n\nInstall\n"
        f"  pip install 'cuvee[{extras(score)}]'{paper}\n"
    )


def section(score: Score) -> str:
    """Return one score's page as a section of a Markdown document; says what `page` says."""
    body = score.doc.split("\nArgs:")[0].rstrip().replace("::\n", ":\n").replace("``", "`")
    rows = [
        f"| `{p.name}` | {values_of(p)} | {default_of(p)} | {p.help.replace('``', '`')} |"
        for p in score.parameters.values()
    ]
    settings = "\n".join(["| setting | values | default | meaning |", "|---|---|---|---|", *rows])
    paper = f"\n\n**Paper:** {score.paper.cite()}" if score.paper else ""
    kinds = " or ".join(need.replace("_", " ") for need in score.models)
    return f"### {score.name}\n\n{body}\n\n{settings}\n\n**Models:** {kinds}.{paper}\n"


def table(scores: Mapping[str, Score]) -> str:
    """Return a table of scores as Markdown."""
    lines = ["| score | what it measures | models | needs |", "|---|---|---|---|"]
    for name, score in scores.items():
        files = ", ".join(f"`{p.name}`" for p in score.parameters.values() if p.is_required)
        kinds = " or ".join(need.replace("_", " ") for need in score.models)
        lines.append(f"| [`{name}`](#{name}) | {score.summary} | {kinds} | {files} |")
    return "\n".join(lines) + "\n"


def values_of(parameter: Parameter) -> str:
    """Say which values a setting takes."""
    if parameter.column:
        return f"column of `{parameter.column}`"
    kind = ", ".join(parameter.choices) or KINDS[parameter.kind]
    bounds = parameter.bounds
    return kind if bounds is None else f"{kind} from {bounds.low:g}"


def default_of(parameter: Parameter) -> str:
    """Write a setting's default as the command line takes it."""
    default = parameter.default
    if isinstance(default, tuple):
        return "+".join(map(str, default))
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if str(default) in ("", ".") else str(default)


def extras(score: Score) -> str:
    """Return the extras to install for a score."""
    return ",".join(dict.fromkeys(("hf", score.extra)))


def _line(parameter: Parameter) -> str:
    """Describe one setting."""
    return f"  {parameter.name} ({values_of(parameter)}; {default_of(parameter)})\n      {parameter.help}"
