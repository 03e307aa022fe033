"""mergekit in a process of its own, asked for one merge after another."""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["Reference"]

HERE = Path(__file__).resolve().parent
SECONDS = 120  # for a merge of models of a few kB
START_SECONDS = 300  # for the first import on a machine that has just installed it
SETTING = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONHASHSEED": "0",  # it takes models from sets of texts
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Reference:
    """A process that merges with mergekit, and is started again if it dies.

    Args:
        environment: folder of mergekit's environment.
        adapted: folder in which it keeps models with adapters put on; it remembers them as long as it runs.
    """

    def __init__(self, environment: Path, adapted: Path) -> None:
        self._adapted = adapted
        self._python = environment / "bin" / "python"
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> "Reference":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def merge(self, config: Path, out: Path, *, several: bool = False, options: Sequence[str] = ()) -> str | None:
        """Merge.

        Args:
            config: the configuration.
            out: folder to write.
            several: whether the file has several documents.
            options: further options of the command.

        Returns:
            None, or the error that it ended with.
        """
        between = ["--out-path", str(out), "-I", f"{out}-between"] if several else [str(out)]
        command = "mergekit-multi" if several else "mergekit-yaml"
        lora = ["--lora-merge-cache", str(self._adapted)]
        return self._ask(command, [str(config), *between, "--quiet", "--no-write-model-card", *lora, *options])

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _ask(self, command: str, arguments: list[str]) -> str | None:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"command": command, "arguments": arguments}) + "\n")
        process.stdin.flush()
        answer = self._answer(SECONDS)
        if answer is None:
            self.stop()
            return f"no answer within {SECONDS} s, or the process died"
        error: str | None = json.loads(answer)["error"]
        return error

    def _start(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(
            [self._python, HERE / "worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **SETTING},
        )
        self._answers = queue.Queue()
        threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()
        if self._answer(START_SECONDS) is None:
            self.stop()
            raise SystemExit(
                f"mergekit does not start in {self._python.parent.parent}. Remove that folder to remake it."
            )
        return self._process

    def _answer(self, seconds: float) -> str | None:
        try:
            return self._answers.get(timeout=seconds) or None
        except queue.Empty:
            return None


def _listen(process: "subprocess.Popen[str]", answers: "queue.Queue[str]") -> None:
    """Pass on what a process says; an empty line at its end."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")
