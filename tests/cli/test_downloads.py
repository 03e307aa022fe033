import io

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from cuvee.cli.downloads import show_downloads
from cuvee.cli.merge import progress_bar
from cuvee.sources import hub


def test_a_download_has_a_line_until_it_is_over() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console)
    with bar, show_downloads(bar):
        advance = hub._listeners[-1]("org/model/a.safetensors", 1000)
        advance(400)
        (task,) = bar.tasks
        assert (task.description, task.completed, task.total, task.visible) == (
            "org/model/a.safetensors", 400, 1000, True,
        )  # fmt: skip
        advance(600)
        assert not task.visible
    assert not hub._listeners


def test_nothing_is_shown_when_quiet() -> None:
    written = io.StringIO()
    with progress_bar(Console(file=written, force_terminal=True, quiet=True)):
        hub._listeners[-1]("org/model/a.safetensors", 1000)(400)  # else huggingface_hub would show a bar of its own
    assert written.getvalue() == ""
