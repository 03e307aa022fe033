"""Errors in the files that recipes are read from."""

import cuvee
from docs.errors.scenarios import Place, provokes

TOP = "cuvee: 1\nmethod: linear\nmodels: [a, b]\n"


def planned(place: Place, text: str | bytes) -> None:
    """Write a recipe and plan it on the command line."""
    (place.folder / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    place.command("plan", "recipe.yaml")


def of_several(place: Place, recipes: str) -> None:
    """Write a file of several recipes and plan it."""
    planned(place, f"cuvee: 1\nrecipes:\n{recipes}")


@provokes("{file}: the recipe cannot be read: {reason}.")
def recipe_is_not_there(place: Place) -> None:
    place.command("plan", "recipe.yaml")


@provokes("{file}: not a recipe: it is larger than 2,000,000 bytes. Name the recipe's YAML file.")
def weights_taken_for_a_recipe(place: Place) -> None:
    planned(place, bytes(3_000_000))


@provokes("{file}: not a recipe: byte {number} is not UTF-8 text. Name a YAML file, and save it as UTF-8.")
def recipe_in_latin_1(place: Place) -> None:
    planned(place, f"# für alle\n{TOP}".encode("latin-1"))


@provokes("{file}: not a recipe: line {number}: {problem}.")
def recipe_with_a_bracket_left_open(place: Place) -> None:
    planned(place, "cuvee: 1\nmodels: [a, b\nmethod: linear\n")


@provokes("{file}: not a recipe: it is nested too deeply, or refers to itself.")
def recipe_nested_so_deeply_that_yaml_gives_up(place: Place) -> None:
    planned(place, "[" * 5000)


@provokes("{file}:{line}: not a recipe: it is nested too deeply, or refers to itself.")
def recipe_that_refers_to_itself(place: Place) -> None:
    planned(place, f"{TOP}parameters: &p\n  weight: *p\n")


@provokes("{file}:{line}: aliases (*name) stand for more than 1000 values; write them out.")
def recipe_of_aliases(place: Place) -> None:
    planned(place, f"{TOP}parameters:\n  weight: [&w 1{', *w' * 1001}]\n")


@provokes("{file}:{line}: '{text}' cannot be read as {kind}; put text in quotes.")
def number_of_letters(place: Place) -> None:
    planned(place, f"{TOP}seed: !!int x\n")


@provokes("{file}:{line}: a value of type {type} cannot stand in a recipe; use text or numbers.")
def recipe_with_bytes(place: Place) -> None:
    planned(place, f"{TOP}seed: !!binary aGVsbG8=\n")


@provokes("{file}:{line}: the tag '{tag}' cannot stand in a recipe; use plain lists and mappings.")
def recipe_with_a_set(place: Place) -> None:
    planned(place, f"{TOP}parameters: !!set {{weight}}\n")


@provokes("{file}:{line}: {key} cannot be a key; keys are text (put numbers in quotes).")
def key_is_a_number(place: Place) -> None:
    planned(place, "cuvee: 1\nmethod: linear\nmodels:\n  7: a\n  8: b\n")


@provokes("{file}:{line}: the key '{key}' is given twice.")
def key_is_given_twice(place: Place) -> None:
    planned(place, f"{TOP}models: [c, d]\n")


@provokes("{file}:{line}: '<<' takes over a mapping, or a list of mappings (*name).")
def key_that_takes_over_text(place: Place) -> None:
    planned(place, f"{TOP}parameters:\n  <<: weight\n")


@provokes("these are several recipes, and one is expected here. …")
def several_recipes_where_one_is_expected(_: Place) -> None:
    cuvee.Recipe.of({"cuvee": 1, "recipes": {"a": {"method": "linear", "models": ["x"]}}})


@provokes("merge_variants takes a mapping, output to recipe, not {kind}.")
def variants_without_places(_: Place) -> None:
    cuvee.merge_variants(["recipe.yaml"])  # type: ignore[arg-type]


@provokes("{file}:{line}: a file of recipes begins with 'cuvee: 1', the version of its format.")
def several_recipes_without_version(place: Place) -> None:
    planned(place, "recipes:\n  one: {method: linear, models: [a, b]}\n")


@provokes("{file}:{line}: 'recipes' is empty; write name: recipe for each.")
def several_recipes_that_are_none(place: Place) -> None:
    planned(place, "cuvee: 1\nrecipes:\n")


@provokes("{file}:{line}: '{name}' is not a name for a recipe: use letters, digits, '_', '-' and '.', and not 'base'.")
def recipe_with_a_blank_in_its_name(place: Place) -> None:
    of_several(place, "  my recipe: {method: linear, models: [a, b]}\n")


@provokes("{file}:{line}: recipes cannot be made of themselves: {circle}. Give one of them other models.")
def recipes_in_a_circle(place: Place) -> None:
    of_several(place, "  one: {method: linear, models: [two, a]}\n  two: {method: linear, models: [one, b]}\n")


@provokes("{file}:{line}: recipe '{name}': {message}")
def one_of_several_recipes_is_wrong(place: Place) -> None:
    of_several(place, "  one: {method: linear, models: [a, b]}\n  two: {method: linnear, models: [one, b]}\n")


def chained(place: Place, count: int, uses: int) -> None:
    """Recipes of which each uses the one before."""
    lines = [f"  r{i}: {{method: linear, models: [{', '.join([f'r{i - 1}'] * uses)}]}}\n" for i in range(1, count)]
    of_several(place, "".join(["  r0: {method: linear, models: [a]}\n", *lines]))


@provokes(
    "{file}:{line}: recipe '{name}': more than 24 levels of recipes stand within this one, or 16 of recipes with "
    "adapters on them. …"
)
def recipes_that_each_use_the_one_before(place: Place) -> None:
    chained(place, 30, 1)


@provokes(
    "{file}:{line}: recipe '{name}': written out wherever they are used, {number} recipes stand within this one; "
    "at most {most} can. …"
)
def recipes_that_each_use_the_one_before_twice(place: Place) -> None:
    chained(place, 12, 2)
