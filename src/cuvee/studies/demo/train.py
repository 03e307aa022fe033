"""Training of the base and of the experts, in processes of their own.

A job is small and names files: the process that runs it draws its own images, reads the weights to start from and
writes a checkpoint. So nothing large travels between processes, and a job gives the same bytes wherever it runs.
"""

import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from ctypes import c_int
from dataclasses import dataclass
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import torch
from torch.nn import functional

from cuvee.studies.demo.data import GROUPS, Cell, drawn_cell, pretraining, seed_for
from cuvee.studies.demo.network import load_network, new_network, save_network
from cuvee.tensors.framework import single_threaded

__all__ = ["Job", "Report", "train", "train_all"]

BATCH = 128
WARM_UP = 0.1  # share of the steps over which the learning rate rises
LABEL_SMOOTHING = 0.1  # stops an expert from growing ever surer of its own digits at the cost of the others
POLL_SECONDS = 0.1

Report = Callable[[str, int, int], None]
"""Told (what, steps done, steps in all) as work proceeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model to train.

    Attributes:
        out: folder the checkpoint is written to; its name is the model's.
        seed: with the model's name, decides images, fresh weights and batches.
        steps: number of batches.
        learning_rate: peak of the schedule.
        copies: how often each scan is drawn; see `drawn_cell` and `pretraining`.
        cell: what an expert is trained on; None trains a base on everything weakly.
        start: checkpoint to start from; None starts from fresh weights.
    """

    out: Path
    seed: int
    steps: int
    learning_rate: float
    copies: int
    cell: Cell | None = None
    start: Path | None = None


def train_all(jobs: Sequence[Job], processes: int, report: Report) -> None:
    """Train several models, in parallel where there are processes for it.

    Args:
        jobs: models that do not depend on each other.
        processes: how many to start; 0 trains one after the other in this one.
        report: told the steps done per model.
    """
    if processes == 0:
        for job in jobs:
            _train_here(job, report)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in the middle of what they do
    steps_done = context.Array(c_int, len(jobs))
    with ProcessPoolExecutor(min(processes, len(jobs)), context, initializer=_share, initargs=(steps_done,)) as pool:
        pending = {pool.submit(_train_shared, place, job) for place, job in enumerate(jobs)}
        while pending:
            finished, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
            for place, job in enumerate(jobs):
                report(job.out.name, steps_done[place], job.steps)
            for future in finished:
                future.result()  # raises what the process raised


def train(job: Job, tick: Callable[[int], None]) -> None:
    """Train one model and write it.

    The loss looks only at the digits the model is trained on: with all ten an expert would learn, before anything else,
    that the other digits do not occur, and merged experts would talk each other out of every answer.

    Args:
        job: what to train.
        tick: told the number of steps done, after each.
    """
    network = new_network(seed_for(job.seed, "weights")) if job.start is None else load_network(job.start)
    optimizer = torch.optim.Adam([parameter for parameter in network.parameters() if parameter.requires_grad])
    generator = torch.Generator().manual_seed(seed_for(job.seed, f"batches {job.out.name}"))
    with single_threaded():
        examples = (
            pretraining(job.seed, job.copies)
            if job.cell is None
            else drawn_cell(job.cell, "train", job.seed, job.copies)
        )
        digits = torch.arange(10) if job.cell is None else torch.tensor(GROUPS[job.cell.group])
        targets = torch.searchsorted(digits, examples.labels)
        for step in range(job.steps):
            rows = torch.randint(len(targets), (BATCH,), generator=generator)
            logits = network(examples.images[rows])[:, digits]
            loss = functional.cross_entropy(logits, targets[rows], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.param_groups[0]["lr"] = job.learning_rate * _schedule(step / job.steps)
            optimizer.step()
            tick(step + 1)
    save_network(network, job.out)


def _schedule(progress: float) -> float:
    """Rise linearly, then fall along a cosine to zero."""
    return min(1.0, progress / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2


def _train_here(job: Job, report: Report) -> None:
    train(job, lambda done: report(job.out.name, done, job.steps))


_steps_done: "SynchronizedArray[int] | None" = None  # of the process that trains; shared with the one that shows


def _share(steps_done: "SynchronizedArray[int]") -> None:
    global _steps_done
    _steps_done = steps_done


def _train_shared(place: int, job: Job) -> None:
    assert _steps_done is not None
    steps_done = _steps_done
    train(job, lambda done: steps_done.__setitem__(place, done))
