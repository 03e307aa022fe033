"""Numbers as people write and read them."""

import pytest

from cuvee.cli.limits import limits
from cuvee.cli.units import duration, parse_size, size
from cuvee.errors import RecipeError
from cuvee.plan.limits import Limits


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("1048576", 1 << 20),
        ("0", 0),
        ("7B", 7),
        ("500MB", 500_000_000),
        ("500 MB", 500_000_000),
        ("  2 GB ", 2_000_000_000),
        ("2gb", 2_000_000_000),
        ("2G", 2_000_000_000),
        ("3k", 3000),
        ("3K", 3000),
        ("3KiB", 3072),
        ("1.5GiB", 3 << 29),
        ("0.5MiB", 1 << 19),
        ("1MiB", 1 << 20),
        ("1Mi", 1 << 20),
        ("4TB", 4_000_000_000_000),
        ("1TiB", 1 << 40),
        ("2.9B", 2),
        ("999999999999999999TB", 999_999_999_999_999_999 * 10**12),
    ],
)
def test_sizes_are_read_with_decimal_and_binary_units(text: str, nbytes: int) -> None:
    assert parse_size(text) == pytest.approx(nbytes, rel=1e-15, abs=0)


@pytest.mark.parametrize(
    "text", ["", "MB", "lots", "-1MB", "1,5GB", "1 2", "1e9", "5PB", "5iB", "5i", ".5GB", "1.GB", "0x10", "9" * 400]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no number of bytes; write for example 500MB, 2GB or 1\.5GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2_150_000, "2.1 MB"), (7.2e9, "7.2 GB"), (3e15, "3000.0 TB")],
)
def test_sizes_are_said_with_decimal_units(nbytes: float, said: str) -> None:
    assert size(nbytes) == said


@pytest.mark.parametrize("nbytes", [5, 999, 1000, 45_000, 2_200_000, 5_000_000_000, 7_000_000_000_000])
def test_what_is_said_of_a_size_can_be_read(nbytes: int) -> None:
    assert parse_size(size(nbytes)) == pytest.approx(nbytes, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.9, "9.9 s"),
        (12.3, "12 s"),
        (119, "119 s"),
        (300, "5 min"),
        (7199, "120 min"),
        (9000, "2.5 h"),
    ],
)
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_is_not_given_is_as_usual() -> None:
    assert limits(None, None, None) == Limits()
    given = limits(3, "2MiB", "1GB")
    assert given == Limits(workers=3, block_bytes=2 << 20, memory=1_000_000_000)
    assert limits(None, None, "1GB") == Limits(memory=1_000_000_000)


@pytest.mark.parametrize("wrong", [(0, None, None), (None, "0", None), (None, "no", None), (None, None, "0.1B")])
def test_wrong_limits_are_errors_of_the_user(wrong: tuple[int | None, str | None, str | None]) -> None:
    with pytest.raises(RecipeError, match=r"\.$"):
        limits(*wrong)
