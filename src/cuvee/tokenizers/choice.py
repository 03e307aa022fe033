"""What a recipe asks of the output's tokenizer. Values only; knows no file and no model."""

from dataclasses import dataclass

__all__ = ["BASE", "UNION", "WORDS", "ZERO", "Choice", "Given"]

UNION, BASE, ZERO = "union", "base", "zero"
WORDS = UNION, BASE, ZERO
"""What a source may be instead of a label; no model goes by such a word where it could mean either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a recipe says of one token.

    Attributes:
        token: the token's text.
        model: label of the model whose row the others get, if they lack the token; None says nothing of that.
        text: the token whose row it is, in that model; None is the same token.
        number: the row itself, instead.
        zero: the row is zeros.
        force: all models get that row, those that have the token as well.
    """

    token: str
    model: str | None = None
    text: str | None = None
    number: int | None = None
    zero: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a recipe asks of the output's tokenizer.

    Attributes:
        source: ``"union"``, ``"base"``, or the label of the model whose tokenizer it is; None keeps the donor's, and
            with it all rows as they are.
        tokens: what is said of single tokens.
        multiple: the rows are as many as fill it, some of them of no token.
        chat_template: ``"auto"``, the name of one, or its text; None keeps what comes with the tokenizer.
    """

    source: str | None = UNION
    tokens: tuple[Given, ...] = ()
    multiple: int = 1
    chat_template: str | None = None
