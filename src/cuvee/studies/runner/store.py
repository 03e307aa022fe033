"""Where trained models and results are kept, by content: the same statement is never worked on twice.

::

    STORE/models/KEY/     a checkpoint or an adapter, with training.json: what it is, what it cost
    STORE/results/KEY.json

Whatever is kept appears by rename: what is there is whole, and a run that was killed goes on from it. Several runs may
share a store.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuvee.errors import OutputError, StudyError
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.statements import as_plain, key_of, libraries
from cuvee.studies.suite import Trained, Training
from cuvee.writers.save import save_state_dict

__all__ = ["MODEL", "Store", "training_key"]

RECORD = "training.json"
MODEL, ADAPTER = "model.safetensors", "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


def training_key(suite: str, training: Training) -> str:
    """Return the name of a trained model."""
    made_by = [] if training.tuning == "full" else [libraries(suite, "peft")["peft"]]  # which makes and writes adapters
    return key_of(suite, as_plain(training), *made_by)


class Store:
    """A folder of trained models and results.

    Args:
        folder: made when something is kept.

    Raises:
        OutputError: the folder is a file.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; trained models are kept in a folder. Name one with --cache.")
        self.folder = folder

    def model(self, suite: str, training: Training) -> Path:
        """Return the folder of a trained model, whether it is there or not."""
        return self.folder / "models" / training_key(suite, training)

    def has(self, suite: str, training: Training) -> bool:
        """Say whether a model has been trained."""
        return self.model(suite, training).is_dir()

    def cost(self, suite: str, training: Training) -> Cost:
        """Return what a model's training took, without that of what it starts from.

        Raises:
            StudyError: the store was changed by hand.
        """
        return Cost(**self._read(self.model(suite, training) / RECORD)["cost"])

    def weights(self, suite: str, training: Training) -> Path:
        """Return the file of a trained model's weights."""
        folder = self.model(suite, training)
        return folder / (ADAPTER if (folder / ADAPTER_CONFIG).exists() else MODEL)

    def keep(self, suite: str, training: Training, trained: Trained, cost: Cost) -> None:
        """Keep a trained model.

        Raises:
            OutputError: the store cannot be written.
        """
        out = self.model(suite, training)
        record = {"suite": suite, "training": as_plain(training), "cost": cost.as_mapping()}
        work = out.with_name(f".{out.name}.{os.getpid()}")
        files = {**trained.files, RECORD: json.dumps(record, indent=1).encode() + b"\n"}
        shutil.rmtree(work, ignore_errors=True)
        try:
            if ADAPTER_CONFIG in files:
                save_state_dict(work / ADAPTER, trained.tensors)
                for name, data in files.items():
                    (work / name).write_bytes(data)
            else:
                save_state_dict(work, trained.tensors, files=files)
            work.rename(out)
        except OSError as error:
            shutil.rmtree(work, ignore_errors=True)
            if not out.is_dir():  # else another process was quicker with the same bytes
                raise OutputError(f"{out}: the trained model cannot be kept: {error.strerror}.") from error

    def result(self, key: str) -> Mapping[str, Any] | None:
        """Return a result that is kept, or None.

        Raises:
            StudyError: the store was changed by hand.
        """
        path = self._path(key)
        return self._read(path) if path.exists() else None

    def keep_result(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result.

        Raises:
            OutputError: the store cannot be written.
        """
        path = self._path(key)
        work = path.with_name(f".{key}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            work.write_text(json.dumps(result))
            work.replace(path)
        except OSError as error:
            raise OutputError(f"{path}: a result cannot be kept: {error.strerror}.") from error

    def _path(self, key: str) -> Path:
        return self.folder / "results" / f"{key}.json"

    @staticmethod
    def _read(path: Path) -> Mapping[str, Any]:
        """Read a file of ours."""
        try:
            content: Mapping[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise StudyError(f"{path} is damaged ({error}); remove it, and it is made again.") from error
        return content
