"""Questions of the suite `polyglot`, and the texts that its languages are learned from. Knows no split and no network.

Six tasks have cells: `who` did it, of two facts told by the kind of those in them (extractive question answering),
`entail` (do the facts entail that there was something of a kind: "in may" entails "in a month"), `frequent` (the word
that is said twice: the shortest of summaries), `odd` (the word whose sense is of another kind), `most` (the greatest of
some numbers in words) and `answerable` (does the fact say who). `who` and `answerable` need the language's grammar, the
others its words. What the strong base is trained on besides texts are other tasks in the same forms: they say what a
form means in a case so small that there is nothing to choose, or ask the same text for something else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cuvee.studies.suites.polyglot.draws import Draws
from cuvee.studies.suites.polyglot.grammar import Fact, Part, Passage
from cuvee.studies.suites.polyglot.lexicon import LANGUAGES, keys_of

__all__ = ["AUXILIARY", "CHANCE", "TASKS", "Question", "new_text"]

NOUNS = ("country", "language", "month", "day", "number")
BEINGS = ("country", "language")  # kinds of those who do something, and are done to
THINGS = ("month", "day", "number", "language")  # kinds of what is done, where countries do it
ORDERED = ("month", "day", "number")
NUM_WORDS = 4
YES, NO = "answer/yes", "answer/no"


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its answer, in concepts.

    Attributes:
        passage: facts or words, then what is asked of them.
        answer: what is to be said.
        language: of the answer, where it is not that of the question.
    """

    passage: Passage
    answer: Passage
    language: str | None = None


def _told(*facts: Fact) -> Passage:
    """Tell facts, each with its full stop."""
    return [piece for fact in facts for piece in (fact, ".")]


def _between(draws: Draws, kind: str) -> Fact:
    """Draw a fact between two of a kind."""
    subject, other = draws.several(keys_of(kind), 2)
    return Fact(subject, draws.one(keys_of("verb")), other)


def _pair(draws: Draws) -> tuple[list[Fact], str, Fact]:
    """Draw a fact of each kind of beings, and the kind and the fact that is asked for."""
    kinds = draws.several(BEINGS, 2)
    facts = [_between(draws, kind) for kind in kinds]
    place = draws.below(2)
    return facts, f"<{kinds[place]}>", facts[place]


def _who(draws: Draws) -> Question:
    facts, kind, fact = _pair(draws)
    return Question((*_told(*facts), kind, "<who>"), (Part(fact.subject, "subject"),))


def _whom(draws: Draws) -> Question:
    """Ask what `who` asks, but for the object."""
    facts, kind, fact = _pair(draws)
    return Question((*_told(*facts), kind, "<whom>"), (Part(fact.object, "object"),))


def _who_alone(draws: Draws) -> Question:
    """Ask who did something, where there is one fact."""
    kind = draws.one(BEINGS)
    fact = _between(draws, kind)
    return Question((*_told(fact), f"<{kind}>", "<who>"), (Part(fact.subject, "subject"),))


def _whom_alone(draws: Draws) -> Question:
    """Ask to whom something was done, where there is one fact."""
    kind = draws.one(BEINGS)
    fact = _between(draws, kind)
    return Question((*_told(fact), f"<{kind}>", "<whom>"), (Part(fact.object, "object"),))


def _entail(draws: Draws) -> Question:
    kinds = draws.several(THINGS, 3)
    subjects = draws.several(keys_of("country"), 2)
    facts = [
        Fact(subject, draws.one(keys_of("verb")), draws.one(keys_of(kind)))
        for subject, kind in zip(subjects, kinds, strict=False)
    ]
    is_true = draws.below(2)
    asked = draws.one(kinds[:2]) if is_true else kinds[2]
    return Question((*_told(*facts), f"<{asked}>", "<true>"), (YES if is_true else NO,))


def _is_kind(draws: Draws) -> Question:
    """Ask if a word, alone or in a fact, is of a kind."""
    kind, other = draws.several(THINGS, 2)
    is_true = draws.below(2)
    word = draws.one(keys_of(kind if is_true else other))
    told: Passage = [word, "."]
    if draws.below(2):
        told = _told(Fact(draws.one(keys_of("country")), draws.one(keys_of("verb")), word))
    return Question((*told, f"<{kind}>", "<true>"), (YES if is_true else NO,))


def _answerable(draws: Draws) -> Question:
    """Ask if a fact says who: it says that and no more, or whom alone, or neither. A fact of numbers does not count."""
    fact = _between(draws, draws.one(BEINGS))
    is_true = draws.below(2)
    whom = fact.object if draws.below(2) else ""
    said = Fact(fact.subject, fact.verb, "") if is_true else Fact("", fact.verb, whom)
    return _is_said(said, _between(draws, "number"), bool(is_true))


def _anyone(draws: Draws) -> Question:
    """Ask what `answerable` asks, where a fact says all or nothing, and one of days does not count."""
    fact = _between(draws, draws.one(BEINGS))
    is_true = draws.below(2)
    return _is_said(fact if is_true else Fact("", fact.verb, ""), _between(draws, "day"), bool(is_true))


def _is_said(fact: Fact, other: Fact, is_true: bool) -> Question:
    """Ask if a fact says who, after telling one more."""
    return Question((*_told(fact, other), "<who>", "<true>"), (YES if is_true else NO,))


def _frequent(draws: Draws) -> Question:
    words = draws.several(_nouns(), NUM_WORDS)
    again = draws.one(words)
    words.insert(draws.below(NUM_WORDS + 1), again)
    return Question((*words, ".", "<frequent>"), (again,))


def _odd(draws: Draws) -> Question:
    kind, other = draws.several(NOUNS, 2)
    odd = draws.one(keys_of(other))
    words = draws.several(keys_of(kind), NUM_WORDS - 1)
    words.insert(draws.below(NUM_WORDS), odd)
    return Question((*words, ".", "<odd>"), (odd,))


def _most(draws: Draws) -> Question:
    words = draws.several(keys_of("number"), NUM_WORDS)
    return Question((*words, ".", "<most>"), (max(words, key=keys_of("number").index),))


def _first(draws: Draws) -> Question:
    words = draws.several(_nouns(), NUM_WORDS)
    return Question((*words, ".", "<first>"), (words[0],))


def _last(draws: Draws) -> Question:
    words = draws.several(_nouns(), NUM_WORDS)
    return Question((*words, ".", "<last>"), (words[-1],))


def _of_kind(draws: Draws) -> Question:
    """Ask for the word of a kind."""
    words = [draws.one(keys_of(kind)) for kind in draws.several(NOUNS, NUM_WORDS)]
    wanted = draws.one(words)
    return Question((*words, ".", f"<{wanted.partition('/')[0]}>"), (wanted,))


def _next(draws: Draws) -> Question:
    """Ask what comes after a number, a day or a month."""
    keys = keys_of(draws.one(ORDERED))
    place = draws.below(len(keys) - 1)
    return Question((keys[place], "<next>"), (keys[place + 1],))


def _translate(draws: Draws) -> Question:
    language = draws.one(LANGUAGES)
    asked = draws.one((*_nouns(), *keys_of("verb"), YES, NO))
    return Question((asked, f"<{language}>"), (asked,), language)


def _double(draws: Draws) -> Question:
    """Ask for the word that is said twice of three."""
    one, other = draws.several(_nouns(), 2)
    words = [one, one]
    words.insert(draws.below(3), other)
    return Question((*words, ".", "<frequent>"), (one,))


def _single(draws: Draws) -> Question:
    """Ask for the odd word, where the others are one word."""
    one, other = draws.several(_nouns(), 2)
    words = [one, one, one]
    words.insert(draws.below(4), other)
    return Question((*words, ".", "<odd>"), (other,))


def _more(draws: Draws) -> Question:
    """Ask for the greater of two numbers."""
    words = draws.several(keys_of("number"), 2)
    return Question((*words, ".", "<most>"), (max(words, key=keys_of("number").index),))


TASKS: Mapping[str, Callable[[Draws], Question]] = {
    "who": _who,
    "entail": _entail,
    "frequent": _frequent,
    "odd": _odd,
    "most": _most,
    "answerable": _answerable,
}
"""What has cells."""
CHANCE = {"who": 1 / 4, "entail": 1 / 2, "frequent": 2 / 5, "odd": 1 / 4, "most": 1 / 4, "answerable": 1 / 2}
"""Score of an answer drawn from the nouns or words of the question, or of yes and no."""
AUXILIARY: Mapping[str, Callable[[Draws], Question]] = {
    "whom": _whom,
    "who-alone": _who_alone,
    "whom-alone": _whom_alone,
    "is-kind": _is_kind,
    "anyone": _anyone,
    "of-kind": _of_kind,
    "first": _first,
    "last": _last,
    "next": _next,
    "translate": _translate,
    "double": _double,
    "single": _single,
    "more": _more,
}
"""What the strong base learns besides texts."""


def new_text(draws: Draws) -> Passage:
    """Draw a text: facts, some of them told again, words of one kind, said again, or what comes in an order."""
    form = draws.below(4)
    if form == 0:
        return [*_told(*(facts := [_between(draws, kind) for kind in draws.several(BEINGS, 2)])), *_told(facts[0])]
    if form == 1:
        subjects = draws.several(keys_of("country"), 2)
        facts = [
            Fact(subject, draws.one(keys_of("verb")), draws.one(keys_of(draws.one(THINGS)))) for subject in subjects
        ]
        return _told(*facts, facts[draws.below(2)])
    if form == 2:
        return [*draws.several(keys_of(draws.one(NOUNS)), 3 + draws.below(4)), "."] * 3
    words: list[str] = []
    for _ in range(3):
        keys = keys_of(draws.one(ORDERED))
        start = draws.below(len(keys) - 3)
        words += [*keys[start : start + 4], "."]
    return words


def _nouns() -> Sequence[str]:
    """List all nouns."""
    return tuple(key for kind in NOUNS for key in keys_of(kind))
