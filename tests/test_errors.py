"""Names that were most likely meant."""

import pytest

from cuvee.errors import nearest


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("wieght", "weight", True),  # swapped
        ("tise", "ties", True),
        ("densty", "density", True),  # missing
        ("linnear", "linear", True),  # too many
        ("larp", "lerp", True),  # wrong
        ("Linear", "linear", True),  # case
        ("mdoel.embd.weight", "model.embed.weight", True),  # two of many
        ("mo0", "m0", True),
        ("a", "aa", True),
        ("aa", "a", True),
        ("expert-maths", "expert-math", True),
        ("base_model", "base", True),  # a part too many
        ("merge_method", "method", True),
        ("a", "a.safetensors", True),  # a part missing
        ("llama", "llama-7b-instruct", True),
        ("instruct", "llama-7b-instruct", True),
        ("a", "b", False),
        ("ab", "ac", False),
        ("m1", "m0", False),
        ("wait", "weight", False),  # three letters
        ("dare", "ties", False),
        ("lasso", "laser", False),  # two of five
        ("model", "module", False),
        ("math", "aftermath", False),  # no part
        ("expert-math", "expert-code", False),
        ("models", "notes.txt", False),
        ("org", "models", False),
        ("base", "database", False),
        ("", "a", False),
        ("é", "e", False),
    ],
)
def test_only_what_was_likely_meant_is_suggested(name: str, known: str, meant: bool) -> None:
    assert nearest(name, [known]) == (f" Did you mean '{known}'?" if meant else "")


def test_the_nearest_of_several_is_suggested_and_the_first_of_equals() -> None:
    assert nearest("expert", ["expert-math-long", "expert-math", "exprt"]) == " Did you mean 'exprt'?"
    assert nearest("expert", ["expert-math-long", "expert-math"]) == " Did you mean 'expert-math'?"
    assert nearest("m.weigth", ["m.weight", "n.weight"]) == " Did you mean 'm.weight'?"
    assert nearest("mergx", ["merge", "mergy"]) == " Did you mean 'merge'?"
    assert nearest("nothing", []) == ""


def test_long_names_of_many_tensors_take_no_time() -> None:
    known = ["layers." + "x" * 5000 + f".{i}" for i in range(2000)]
    assert nearest(known[1999] + "x", known) == f" Did you mean '{known[1999]}'?"
