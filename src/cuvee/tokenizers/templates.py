"""Chat templates: which one a tokenizer has, which one the output gets. Never runs one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cuvee.errors import RecipeError, nearest
from cuvee.sources.strict_json import parse_object
from cuvee.tokenizers.formats import NAMED

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["AUTO", "JINJA", "KEY", "LEGACY", "check_template", "most_frequent", "template_in"]

AUTO = "auto"
JINJA = "chat_template.jinja"  # where transformers 5 keeps it
LEGACY = "chat_template.json"  # where processors kept it
KEY = "chat_template"  # in tokenizer_config.json, where transformers 4 kept it
SHORTEST = 20  # characters of a text; what is shorter is a name that is misspelt


def check_template(value: str) -> None:
    """Verify that a value is ``auto``, the name of a template, or the text of one.

    Args:
        value: what the recipe says.

    Raises:
        RecipeError: it is none of these, or not Jinja; says what it could be.
    """
    if value == AUTO or value in NAMED:
        return
    if "{" not in value or len(value) < SHORTEST:
        raise RecipeError(
            f"chat_template is {value!r}, neither a name nor a Jinja template (which has '{{' and at least {SHORTEST} "
            f"characters).{nearest(value, [AUTO, *NAMED])} The names are: {', '.join([AUTO, *NAMED])}."
        )
    _check_syntax(value)


def _check_syntax(text: str) -> None:
    """Verify that a text is Jinja, as far as that can be told without running it."""
    try:
        import jinja2
    except ImportError:
        return  # whoever uses the template has it
    try:
        _environment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        problem = (error.message or "").removesuffix(".")
        raise RecipeError(f"chat_template is not a Jinja template: line {error.lineno}: {problem}.") from error


def _environment() -> Environment:
    """Return what parses templates: Jinja with loop controls, and the tag by which transformers marks answers."""
    import jinja2
    import jinja2.ext

    class Generation(jinja2.ext.Extension):
        """``{% generation %} … {% endgeneration %}``, of which the inside is read."""

        tags = {"generation"}  # noqa: RUF012 - as the base class has it

        def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return jinja2.Environment(extensions=["jinja2.ext.loopcontrols", Generation])


def template_in(files: Mapping[str, bytes], settings: Mapping[str, object], where: str) -> str | None:
    """Return a tokenizer's chat template, where transformers looks for it; None if it has none.

    Args:
        files: ``chat_template.jinja`` and ``chat_template.json``, where they are there.
        settings: its ``tokenizer_config.json``. Of a list of named templates the one called ``default`` counts.
        where: what to call the folder in messages.

    Raises:
        FormatError: ``chat_template.json`` is malformed.
    """
    if JINJA in files:
        return files[JINJA].decode("utf-8", "replace")
    legacy = parse_object(files[LEGACY], f"{where}/{LEGACY}").get(KEY) if LEGACY in files else None
    for found in (settings.get(KEY), legacy):
        if isinstance(found, list):
            pairs = [(each.get("name"), each.get("template")) for each in found if isinstance(each, Mapping)]
            found = next((template for name, template in pairs if name == "default"), None)
        elif isinstance(found, Mapping):
            found = found.get("default")
        if isinstance(found, str):
            return found
    return None


def most_frequent(templates: Iterable[str | None]) -> str | None:
    """Return the template that most tokenizers have, surrounding space aside; of several, the one that comes first."""
    counts = Counter(text.strip() for text in templates if text and text.strip())
    return counts.most_common(1)[0][0] if counts else None
