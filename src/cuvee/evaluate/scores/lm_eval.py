"""Tasks of lm-evaluation-harness, through its Python entry point."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Annotated, Any

from cuvee.digest import digest_of_bytes
from cuvee.errors import CuveeError, MissingLibraryError, ScoreError, nearest
from cuvee.evaluate.declare import Count, Limit, score
from cuvee.evaluate.measure import Measure, share, with_error
from cuvee.evaluate.networks import first_line
from cuvee.evaluate.subject import Subject
from cuvee.plugins.paper import Paper
from cuvee.plugins.signature import Range

__all__ = ["explained", "lm_eval", "quiet_harness"]

AS_THE_TASK_SAYS = -1
STDERR = "_stderr"
ITERATIONS = 1000  # of the harness's own bootstrap, for metrics that are no mean

PAPER = Paper(
    title="Lessons from the Trenches on Reproducible Evaluation of Language Models",
    authors="Stella Biderman, Hailey Schoelkopf, Lintang Sutawika, Leo Gao, Jonathan Tow, and others",
    venue="arXiv",
    year=2024,
    url="https://arxiv.org/abs/2405.14782",
)


def _known(settings: Mapping[str, Any]) -> str:
    """Verify that the harness has the tasks, or the folder does."""
    folder = settings["include_path"]
    if folder != Path() and not folder.is_dir():
        return f"include_path={folder} is no folder."
    known = _manager(settings).all_tasks
    unknown = [name for name in settings["tasks"] if name not in known]
    return f"there is no task '{unknown[0]}'.{nearest(unknown[0], known)}" if unknown else ""


@score(models=("causal", "seq2seq"), check=_known, paper=PAPER, extra="eval")
def lm_eval(
    subject: Subject,
    limit: Limit,
    *,
    tasks: tuple[str, ...],
    include_path: Path = Path(),
    num_fewshot: Annotated[int, Range(-1, 1000)] = AS_THE_TASK_SAYS,
    chat: bool = False,
    batch: Count = 8,
) -> Sequence[Measure]:
    """Tasks of lm-evaluation-harness, by name: each metric with the standard error that the harness gives.

    Tasks whose data are files on this machine need no network; others download theirs.

    Args:
        tasks: names of tasks or groups, as the harness lists them.
        include_path: folder of more tasks, as YAML files; they go before the harness's own of the same name. A task's
            file may name functions in Python files beside it, which the harness runs: name a folder that you trust.
        num_fewshot: worked examples before each question; -1 is what the task says.
        chat: put the question into the tokenizer's chat template.
        batch: questions at a time.
    """
    settings = {"tasks": tasks, "include_path": include_path}
    with quiet_harness(), explained(tasks):
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        model = HFLM(
            pretrained=subject.network,
            tokenizer=subject.tokenizer,
            backend="seq2seq" if subject.can("seq2seq") else "causal",
            batch_size=batch,
            device=str(subject.device),
        )
        found = simple_evaluate(
            model=model,
            tasks=list(tasks),
            task_manager=_manager(settings),
            num_fewshot=None if num_fewshot == AS_THE_TASK_SAYS else num_fewshot,
            limit=limit,
            apply_chat_template=chat,
            bootstrap_iters=ITERATIONS,
            batch_size=batch,
        )
    return [measure for task in found["results"] for measure in _measures(task, found)]


def _measures(task: str, found: Mapping[str, Any]) -> Iterator[Measure]:
    """Yield what the harness says of a task, or of a group of them."""
    values = found["results"][task]
    better = found.get("higher_is_better", {}).get(task, {})
    counted = found.get("n-samples", {}).get(task, {}).get("effective", values.get("sample_count", 0))
    samples = found.get("samples", {}).get(task, ())
    data = _digest(samples)
    for key, value in values.items():
        name, comma, choice = key.partition(",")
        if not comma or name.endswith(STDERR) or not isinstance(value, int | float):
            continue
        error = values.get(f"{name}{STDERR},{choice}")
        measure = with_error(
            f"{task} {name}" + (f" ({choice})" if choice != "none" else ""),
            float(value),
            float(error) if isinstance(error, int | float) else None,
            int(counted) if isinstance(counted, int) else 0,
            is_better_high=better.get(name) is not False,
            data=data,
        )
        hits = [each.get(name) for each in samples if each.get("filter", choice) == choice]
        yield _of_shares(measure, hits)


def _of_shares(measure: Measure, hits: Sequence[object]) -> Measure:
    """Give a share of examples Wilson's interval; the harness's error is 0 where all are right, or none."""
    if measure.error is None or not hits or any(hit not in (0, 1) for hit in hits):
        return measure
    found = share(measure.metric, [hit == 1 for hit in hits])
    if not isclose(found.value, measure.value):
        return measure
    return replace(measure, low=found.low, high=found.high, doubt=found.doubt)


def _digest(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of what was asked and of the right answers, example by example; empty for a group of tasks."""
    hashes = [str(each.get(f"{part}_hash", "")) for each in samples for part in ("doc", "prompt", "target")]
    return digest_of_bytes("".join(hashes).encode()) if samples else ""


def _manager(settings: Mapping[str, Any]) -> Any:
    """Return what knows the tasks; the harness's own are looked up only where the folder lacks one."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingLibraryError(
            "the score 'lm_eval' is lm-evaluation-harness's, which is not installed; run: pip install 'cuvee[hf,eval]'"
        ) from error
    folder = settings["include_path"]
    path = None if folder == Path() else str(folder)
    with quiet_harness(), explained(settings["tasks"]):
        if path is not None:
            own = TaskManager(include_path=path, include_defaults=False)
            if all(name in own.all_tasks for name in settings["tasks"]):
                return own
        return TaskManager(include_path=path)


@contextmanager
def explained(tasks: Sequence[str]) -> Iterator[None]:
    """Say which tasks the harness failed with, whatever it raises."""
    try:
        yield
    except Exception as error:
        if isinstance(error, CuveeError):
            raise
        raise ScoreError(
            f"lm-evaluation-harness failed with {', '.join(tasks)}: {type(error).__name__}: {first_line(error)}. A "
            "task whose data are not on this machine needs the network; run with --debug for the whole story."
        ) from error


@contextmanager
def quiet_harness() -> Iterator[None]:
    """Have the harness tell only what is wrong; then as before."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
