"""The command line: one command, one verb for each thing people do. Verbs import what they need when they run."""

import gc
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, NoReturn, TextIO, cast

import typer
import typer.main

from cuvee.cli.lines import plain
from cuvee.errors import CuveeError, CuveeWarning

__all__ = ["app", "main"]

app = typer.Typer(
    name="cuvee",
    help="Merge neural networks: several checkpoints into one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Whether it can be read is found out by reading it: then the message is the same as of any other file.
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe, a YAML file.", readable=False)]
Model = Annotated[
    str, typer.Argument(help="A folder, a file, org/name on the hub, an address, or BASE+ADAPTER; not a recipe.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Workers = Annotated[int | None, typer.Option(help="Threads; by default one for each core, at most 8.")]
BlockSize = Annotated[str | None, typer.Option(help="Most bytes read at a time from one input; by default 1MiB.")]
Memory = Annotated[
    str | None,
    typer.Option(help="Most memory it may take, interpreter included: 400MB, 2GB. By default no limit."),
]
Tensors = Annotated[bool, typer.Option("--tensors", help="List every tensor.")]

# What typer raises for wrong arguments. It exports this subclass only; the class itself has moved from click to typer.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)


def _print_version(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        from cuvee.version import __version__

        print(f"cuvee {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Merge neural networks: several checkpoints into one."""


@app.command()
def merge(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option(help="Folder to write, or a .safetensors file for the weights alone.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Wait until the output would survive a loss of power.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of random methods, in place of the recipe's.")] = None,
    shard_size: Annotated[str | None, typer.Option(help="Most bytes in one file, such as 5GB; likewise.")] = None,
    memory: Memory = None,
    workers: Workers = None,
    block_size: BlockSize = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Merge models into a checkpoint, as a recipe says."""
    from cuvee.cli.limits import limits
    from cuvee.cli.merge import Given, run

    given = Given(seed=seed, shard_size=shard_size, overwrite=overwrite, sync=sync)
    run(recipe, out, given, limits=limits(workers, block_size, memory), quiet=quiet)


@app.command()
def plan(
    recipe: RecipePath,
    as_json: Json = False,
    rows: Annotated[bool, typer.Option("--rows", help="List every row instead of one line per kind.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the output would go, to see how fast that disk is.")] = None,
    memory: Memory = None,
    workers: Workers = None,
    block_size: BlockSize = None,
) -> None:
    """Say what a merge will do, and what it will cost on this machine."""
    from cuvee.cli.limits import limits
    from cuvee.cli.plan import run

    run(recipe, as_json=as_json, every_row=rows, limits=limits(workers, block_size, memory), out=out)


@app.command()
def convert(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of a mergekit configuration.")],
    out: Annotated[Path | None, typer.Option(help="File to write instead; paths are relative to its folder.")] = None,
) -> None:
    """Print a mergekit configuration as a recipe, with absolute paths."""
    from cuvee.cli.convert import run

    run(config, out)


@app.command()
def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a merge.")],
    replay: Annotated[bool, typer.Option("--replay", help="Merge once more, writing nothing, and compare.")] = False,
    as_json: Json = False,
    memory: Memory = None,
    workers: Workers = None,
) -> None:
    """Compare a merge and its models with what was recorded of them."""
    from cuvee.cli.limits import limits
    from cuvee.cli.verify import run

    run(out, replay=replay, as_json=as_json, limits=limits(workers, None, memory))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, for its page.")] = None, as_json: Json = False
) -> None:
    """List the merge methods, or show one in full."""
    from cuvee.cli.methods import run

    run(name, as_json=as_json)


@app.command()
def inspect(
    path: Model,
    as_json: Json = False,
    tensors: Tensors = False,
) -> None:
    """Show what a checkpoint holds, from its headers."""
    from cuvee.cli.inspect import inspect as run

    run(path, as_json=as_json, tensors=tensors)


@app.command()
def diff(
    a: Model,
    b: Annotated[str, typer.Argument(help="The other one.")],
    as_json: Json = False,
    tensors: Tensors = False,
) -> None:
    """Compare two checkpoints: distance, cosine and sign agreement."""
    from cuvee.cli.diff import diff as run

    run(a, b, as_json=as_json, tensors=tensors)


@app.command()
def extract(
    base: Annotated[str, typer.Argument(help="The base; any model that inspect takes.")],
    finetuned: Annotated[str, typer.Argument(help="A model that was trained from it.")],
    out: Annotated[Path, typer.Option(help="Folder to write, as PEFT reads it.")],
    rank: Annotated[int | None, typer.Option(help="Rank of every matrix.")] = None,
    error: Annotated[float | None, typer.Option(help="Or the relative error that each matrix may have.")] = None,
    save_others: Annotated[
        bool, typer.Option("--save-others", help="Save what else differs as a whole (embeddings, norms).")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an adapter that is there.")] = False,
    memory: Memory = None,
    workers: Workers = None,
) -> None:
    """Extract a LoRA adapter from a base and a fine-tuned model."""
    from cuvee.cli.extract import run
    from cuvee.cli.limits import limits

    asked = limits(workers, None, memory)
    run(base, finetuned, out, rank=rank, error=error, save_others=save_others, overwrite=overwrite, limits=asked)


@app.command()
def study(
    name: Annotated[str | None, typer.Argument(help="Which study; none lists them.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Its size: smoke (default), small, record, full, or paper (declared suites).", show_default=False
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="With preset paper: only this declared suite, by name or YAML file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default NAME-PRESET.")] = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods to compare, with commas; by default the preset's.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds; by default the preset's.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of trained models and results; by default in the user's cache.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=0, help="Jobs at a time, one core each; by default every core.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would train, merge and score.")] = False,
    json: Json = False,
) -> None:
    """Train, merge and compare models in a built-in study."""
    from cuvee.cli.study import run

    run(
        name,
        preset=preset,
        suite=suite,
        out=out,
        methods=methods,
        seeds=seeds,
        cache=cache,
        processes=processes,
        plans=plan,
        as_json=json,
    )


@app.command()
def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="What inspect takes, or recipes (.yaml), merged in memory.")
    ],
    score: Annotated[
        list[str],
        typer.Option(help="NAME:SETTING=VALUE,…; as often as there are scores. See `cuvee scores`."),
    ],
    limit: Annotated[int | None, typer.Option(help="Most examples of each score; by default all.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="What models run in: float32, bfloat16, float16, float64; auto: as they are stored.")
    ] = "auto",
    as_json: Json = False,
    memory: Memory = None,
    workers: Workers = None,
) -> None:
    """Score models, or recipes without writing what they make."""
    from cuvee.cli.evaluate import run
    from cuvee.cli.limits import limits

    asked = limits(workers, None, memory)
    run(models, score, limit=limit, device=device, dtype=dtype, limits=asked, as_json=as_json)


@app.command()
def scores(
    name: Annotated[str | None, typer.Argument(help="A score, for its page.")] = None,
    as_json: Json = False,
) -> None:
    """List the scores, or show one in full."""
    from cuvee.cli.scores import run

    run(name, as_json=as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the models and merges.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Decides the data split, the training and the random merges.")] = 0,
) -> None:
    """Train small models, merge them by several methods, score all."""
    from cuvee.cli.demo import run

    run(out, seed)


def _fail(error: BaseException, message: str, code: int, debug: bool) -> NoReturn:
    """Print an error as one paragraph, after its traceback when debugging, and leave."""
    if debug:
        traceback.print_exception(error)
    said = " ".join([f"cuvee: {message}", *getattr(error, "__notes__", ())])
    print("\n".join(map(plain, said.split("\n"))), file=sys.stderr)
    raise SystemExit(code)


def _comes_of(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Say whether an exception was raised while one of this kind was handled."""
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error is not None


def _run(arguments: list[str]) -> int:
    """Run one command and return its exit code; unlike typer, let every exception through."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("cuvee", arguments) as context:
            command.invoke(context)
    except typer.Exit as leaving:  # after --help or --version
        return leaving.exit_code
    return 0


_show_warning = warnings.showwarning


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of ours as a note, without the place in our code that warned; any other as Python does."""
    if issubclass(category, CuveeWarning):
        print(f"Note: {plain(str(message))}", file=sys.stderr)
    else:
        _show_warning(message, category, filename, lineno, file, line)


def _misuse(error: typer.BadParameter) -> str:
    """Say in one line what typer found wrong with the arguments, and where help is."""
    said = " ".join(error.format_message().split())
    end = "" if said.endswith((".", "?")) else "."
    command = error.ctx.command_path if error.ctx else "cuvee"
    # mergekit's command takes the folder as a second argument.
    is_out = command.endswith(" merge") and ("'--out'" in said or "extra argument" in said)
    hint = " Write: cuvee merge RECIPE --out FOLDER." if is_out else ""
    return f"{said}{end}{hint} See '{command} --help'."


def main() -> None:
    """Run the command line: 0 if all went well, 2 for a wrong recipe or command, 1 for a failed run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    gc.set_threshold(100_000, 50, 50)  # a plan's objects live to the end; looking for dead ones takes seconds
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", CuveeWarning)
            warnings.showwarning = _note
            code = _run(list(arguments))
        sys.stdout.flush()  # here, and not as Python ends, we can tell whether somebody still reads
    except CuveeError as error:
        _fail(error, str(error), error.exit_code, debug)
    except _UsageError as error:
        if not arguments:  # what typer says then is the help
            error.show()
            raise SystemExit(2) from None
        _fail(error, _misuse(error), 2, debug)
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses it again has been heard
        done = "." if getattr(error, "__notes__", ()) else "; nothing was left half-written."
        _fail(error, f"interrupted{done}", 130, debug)
    except BrokenPipeError:  # the reader of our output (head, less) has gone; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes as it ends
        raise SystemExit(0) from None
    except SystemExit as leaving:
        if _comes_of(leaving, BrokenPipeError):  # the same; rich has made an exit code of it
            raise SystemExit(0) from None
        raise
    except Exception as error:  # noqa: BLE001 - an error of ours; users get a sentence, --debug the traceback
        message = f"unexpected {type(error).__name__}: {error}. Run again with --debug and report what it prints."
        _fail(error, message, 1, debug)
    raise SystemExit(code)
