"""The model card (README.md) of a merged checkpoint: what it is made of, the recipe, what to cite."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["model_card"]

TEMPLATE = """---
library_name: transformers
{bases}tags:
- merge
- cuvee
---

# {title}

Merged with cuvee {version}, by the method `{method}`.

## Models

{models}

## Recipe

```yaml
{recipe}```
{notes}
## Citations

{citations}
"""

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def model_card(
    title: str,
    method: str,
    models: Mapping[str, str],
    recipe: str,
    citations: Sequence[str],
    notes: Sequence[str] = (),
    *,
    version: str,
) -> bytes:
    """Write a model card.

    Args:
        title: name of the merged model.
        method: name of the method.
        models: label to what the recipe calls the model, base included; what looks like a hub's id (org/name) and is no
            local path is listed as a base model in the front matter, too.
        recipe: the recipe's text.
        citations: references of the methods used, one BibTeX entry or line each.
        notes: what the plan and the run warned of.
        version: version of cuvee that merged it.

    Returns:
        The card, UTF-8.
    """
    listed = "\n".join(f"- `{label}`: `{reference}`" for label, reference in models.items())
    remarks = "\n## Notes\n\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else ""
    cited = "\n".join(f"```bibtex\n{entry}```" for entry in citations) or "The methods used have no paper of their own."
    hub = [name for name in dict.fromkeys(models.values()) if HUB_ID.fullmatch(name) and not Path(name).exists()]
    text = TEMPLATE.format(
        version=version,
        bases="base_model:\n" + "".join(f"- {name}\n" for name in hub) if hub else "",
        title=title,
        method=method,
        models=listed,
        recipe=recipe,
        notes=remarks,
        citations=cited,
    )
    return text.encode("utf-8", "replace")  # paths may hold bytes that are no text
