"""The output's vocabulary: which tokens it has, under which numbers. Knows tokenizers; no tensor and no file."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cuvee.errors import PlanError
from cuvee.sources.strict_json import shown
from cuvee.tokenizers.choice import BASE, UNION, Choice, Given
from cuvee.tokenizers.reading import FLAGS, Added, Tokenizer

__all__ = ["Known", "Made", "make_vocabulary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model's tokenizer, and the rows that its tables have.

    Attributes:
        tokenizer: the tokenizer; the donor's, where the model has none of its own.
        rows: number of rows; tokens beyond them have none.
    """

    tokenizer: Tokenizer
    rows: int

    def row(self, token: str) -> int | None:
        """Return the row of a token, or None if it has none."""
        number = self.tokenizer.numbers.get(token)
        return number if number is not None and number < self.rows else None


@dataclass(kw_only=True)
class Made:
    """A vocabulary, made of those of several models.

    Attributes:
        owner: the tokenizer that it begins with, whose files go with the output.
        numbers: token to number.
        flags: what is said of tokens that are added to the owner's, or anew.
        lost: the owner's tokens that are left out, because the model has no row for them.
        notes: what the user should know.
    """

    owner: Tokenizer
    numbers: dict[str, int]
    flags: dict[str, Added] = field(default_factory=dict)
    lost: Collection[str] = ()
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the first number that is free."""
        self._following = max(self.numbers.values(), default=-1) + 1

    @property
    def size(self) -> int:
        """One more than the largest number."""
        return self._following

    def add(self, token: str, flags: Added) -> None:
        """Make a token an added one; it gets the next number if it has none."""
        self.flags[token] = flags
        if token not in self.numbers:
            self.numbers[token] = self._following
            self._following += 1


def make_vocabulary(choice: Choice, known: Mapping[str, Known], donor: str) -> Made:
    """Make the output's vocabulary.

    With ``base``, it is the donor's; with a label, that model's, unchanged. A ``union`` is the donor's, then the
    ordinary tokens that others have and it lacks, model by model in the order of their numbers, then the tokens that
    others have added; what comes from others is an added token. Last come tokens that the recipe names.

    Args:
        choice: what the recipe asks; its `source` is given.
        known: the models' tokenizers by label, the donor's first, then in the recipe's order.
        donor: label of the donor.

    Raises:
        PlanError: tokens cannot be appended to this tokenizer.
    """
    assert choice.source is not None
    if choice.source in (UNION, BASE):
        made = _trimmed(known[donor])
    else:
        owner = known[choice.source].tokenizer
        made = Made(owner=owner, numbers=dict(owner.numbers))
    before = made.size
    if choice.source == UNION:
        _unite(made, known, donor)
    for given in choice.tokens:
        if given.token not in made.numbers:
            made.add(given.token, _flags_of(given, known))
    if made.size > before:
        _check_appended(made, before)
    return made


def _trimmed(known: Known) -> Made:
    """Return a tokenizer's vocabulary without the tokens that the model has no row for."""
    tokenizer = known.tokenizer
    numbers = {token: number for token, number in tokenizer.numbers.items() if number < known.rows}
    lost = [token for token in tokenizer.numbers if token not in numbers]
    made = Made(owner=tokenizer, numbers=numbers, lost=frozenset(lost))
    if lost:
        made.notes.append(
            f"The tokenizer of {tokenizer.place} has {len(lost):,} token{'s' if len(lost) > 1 else ''} more than the "
            f"model has rows ({known.rows:,}), such as {shown(lost[0])}; they are left out."
        )
    return made


def _unite(made: Made, known: Mapping[str, Known], donor: str) -> None:
    """Add what other models have to the donor's vocabulary."""
    added: dict[str, Added] = {}
    for label, each in known.items():
        differing = []
        for token, number in each.tokenizer.added.items():
            if (
                number < each.rows
                and added.setdefault(token, each.tokenizer.flags[token]) != (each.tokenizer.flags[token])
            ):
                differing.append(token)
        if differing:
            made.notes.append(
                f"'{label}' defines {_named(differing)} otherwise than a model before it, whose definition holds."
            )
    for label, each in known.items():
        fresh = [
            (number, token)
            for token, number in each.tokenizer.ordinary.items()
            if token not in made.numbers and token not in added and number < each.rows
        ]
        for _, token in sorted(fresh):
            made.add(token, FLAGS)
        if fresh:
            many = len(fresh) > 1
            made.notes.append(
                f"{len(fresh):,} ordinary token{'s' if many else ''} of '{label}' become{'' if many else 's'} added, "
                "and text is split at added tokens before anything else is done with it. Where that changes too much, "
                "take one model's tokenizer (tokenizer: {source: LABEL})."
            )
    own = known[donor].tokenizer.added
    for token, flags in added.items():
        if token not in own or token not in made.numbers:
            made.add(token, flags)


def _flags_of(given: Given, known: Mapping[str, Known]) -> Added:
    """Return what a model says of a token that the recipe adds: the one that gives the row, else the first that can."""
    labels = [*([given.model] if given.model else []), *known]
    said = (known[label].tokenizer.flags.get(given.token) for label in labels)
    return next((flags for flags in said if flags), FLAGS)


def _check_appended(made: Made, before: int) -> None:
    """Verify that who loads the tokenizer gives appended tokens the numbers that they have here.

    Readers number added tokens anew, from the first number that the ordinary ones leave free.
    """
    ordinary = [token for token in made.owner.ordinary if token in made.numbers]
    taken, following = set(ordinary), len(ordinary)
    for token, number in sorted(made.numbers.items(), key=lambda each: each[1]):
        if token in taken:
            continue
        if number != following:
            raise PlanError(
                f"no token can be added to the tokenizer of {made.owner.place}: its numbers have a gap before "
                f"{number:,} ({shown(token)}), and whoever loads it would number the tokens otherwise. Take another "
                "model's tokenizer.",
                ("tokenizer", "source"),
            )
        following += 1
    assert following == made.size > before


def _named(tokens: Iterable[str]) -> str:
    """Name a few tokens."""
    names: Sequence[str] = list(tokens)
    more = f" and {len(names) - 3} more tokens" if len(names) > 3 else ""
    return ", ".join(map(shown, names[:3])) + more
