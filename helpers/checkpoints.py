"""The files that a training run is resumed from: whole or absent, the last two of them, and nothing is trusted unread.

``last.pt`` is the newest checkpoint, ``previous.pt`` the one before it. A checkpoint holds tensors, numbers and text,
and at its end the SHA-256 of all that. It is read without unpickling code, after the SHA-256 was found to fit, and it
must be of the same run. One that is cut short, damaged or foreign is refused with the reason, and the other one is
taken.
"""

import hashlib
import io
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from helpers.config import CourseError
from helpers.utils import checksum, whole_file

LAST, PREVIOUS = "last.pt", "previous.pt"
LARGEST = 4 << 30  # bytes; ten times the largest network here with its optimizer


def save_checkpoint(folder: Path, content: dict) -> None:
    """Make ``content`` the newest checkpoint, and what was the newest the previous one.

    Killed at any moment, the folder holds at least one whole checkpoint, if it held one before.
    """
    stream = io.BytesIO()  # torch.save into a file hides what the disk says when it is full
    torch.save(content, stream)
    with whole_file(folder / LAST) as path:
        path.write_bytes(stream.getvalue() + hashlib.sha256(stream.getbuffer()).digest())
        if (folder / LAST).exists():
            os.replace(folder / LAST, folder / PREVIOUS)


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all; ``about`` and a checksum of all stand in its header."""
    with whole_file(path) as temporary:
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        about = {**about, "sha256": checksum(tensors, about)}
        temporary.write_bytes(safetensors_bytes(tensors, about))  # whose own writing hides what a full disk says


def newest(folder: Path, identity: dict | None = None) -> dict | None:
    """The newest checkpoint in ``folder`` that can be trusted, or the one before, which is said; None without any.

    Args:
        folder: of the run.
        identity: what the run must be, JSON-ready; None: any run.

    Raises:
        CourseError: there are checkpoints, and none of them will do.
    """
    reasons = []
    for name in (LAST, PREVIOUS):
        if not (folder / name).exists():
            continue
        try:
            content = read_checkpoint(folder / name)
            if identity is not None:
                _check_identity(content, identity, folder)
        except CourseError as error:
            reasons.append(error)
            continue
        if reasons:
            print(f"{str(reasons[0]).rpartition(': ')[0]}. Taking {name}, {content['seen']} samples into the run.")
        return content
    if reasons:
        raise reasons[0]
    return None


def read_checkpoint(path: Path) -> dict:
    """The content of one checkpoint file.

    Raises:
        CourseError: it is cut short, damaged, too large, or no checkpoint.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        data = path.read_bytes()
        if hashlib.sha256(memoryview(data)[:-32]).digest() != data[-32:]:
            raise ValueError("it is damaged, or another version of the course wrote it")
        content = torch.load(io.BytesIO(data[:-32]), map_location="cpu", weights_only=True)
        json.loads(content["identity"])
        return content
    except Exception as error:  # torch raises many kinds for a damaged file
        why = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise CourseError(
            f"The checkpoint {path.name} in {path.parent.name}/ cannot be read ({why}): "
            "delete that folder to train from the start, or choose another run_dir."
        ) from error


def _check_identity(content: dict, identity: dict, folder: Path) -> None:
    saved = json.loads(content["identity"])
    for what, value in json.loads(json.dumps(identity)).items():
        if saved.get(what) != value and what != "precision":  # another device rounds in another way, no more
            why = f"The folder {folder.name}/ holds a run with another {what}: choose another run_dir"
            raise CourseError(f"{why}, or delete the folder to train anew.")
