"""The model card (README.md) of a merged checkpoint: what it is made of, the recipe, what to cite."""

from collections.abc import Mapping, Sequence

__all__ = ["model_card"]

TEMPLATE = """---
library_name: transformers
tags:
- merge
- cuvee
---

# {title}

Merged with cuvee, by the method `{method}`.

## Models

{models}

## Recipe

```yaml
{recipe}```
{notes}
## Citations

{citations}
"""


def model_card(
    title: str,
    method: str,
    models: Mapping[str, str],
    recipe: str,
    citations: Sequence[str],
    notes: Sequence[str] = (),
) -> bytes:
    """Write a model card.

    Args:
        title: name of the merged model.
        method: name of the method.
        models: label to what the recipe calls the model, base included.
        recipe: the recipe's text.
        citations: references of the methods used, one BibTeX entry or line each.
        notes: what the plan and the run warned of.

    Returns:
        The card, UTF-8.
    """
    listed = "\n".join(f"- `{label}`: `{reference}`" for label, reference in models.items())
    remarks = "\n## Notes\n\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else ""
    cited = "\n".join(f"```bibtex\n{entry}```" for entry in citations) or "The methods used have no paper of their own."
    text = TEMPLATE.format(title=title, method=method, models=listed, recipe=recipe, notes=remarks, citations=cited)
    return text.encode("utf-8", "replace")  # paths may hold bytes that are no text
