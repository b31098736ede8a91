"""How fast quartets are rendered, part by part.

``python -m helpers.benchmarks.rendering [--sizes 64 192] [--rooms 16] [--repeats 3]`` times, on the device that would
render them, in one process with one thread: planning a room, its view, finding a place for a cat, and drawing the cat
into the view. Each repeat makes everything anew, nothing is read from disk. ``cached`` has such a process for each core.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from helpers.benchmarks.summary import about, keep, machine, markdown_table
from helpers.config import plain_errors
from helpers.rendering.dataset import RoomsDataset, renderer
from helpers.rendering.room_pass import view_room

RESULT = "bench/rendering.json"  # in runs/
SEED, CATS, PLACEMENTS = 3, 8, 1  # each room gets each cat, mirrored and not
PARTS = "room: plan", "room: view", "quartet: place", "quartet: cat"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def once(size: int, rooms: int) -> dict[str, float]:
    """Seconds of each part, for one room or one quartet; quartets are drawn 32 at a time."""
    source = RoomsDataset(size, rooms, CATS, PLACEMENTS, SEED, renderer())
    indices, views = range(len(source)), {}
    source.view = lambda room: views[room]  # as made below, and not what an earlier run has left on the disk

    def look() -> None:
        for room in range(rooms):
            views[room] = view_room(source.plan(room).room, size, source.device)
            views[room]["bg"] = torch.zeros(3, size, size, dtype=torch.uint8, device=source.device)

    took = [
        seconds(lambda: [source.plan(room) for room in range(rooms)], source.device) / rooms,
        seconds(look, source.device) / rooms,
        seconds(lambda: [source.placement(index) for index in indices], source.device) / len(source),
        seconds(lambda: [source.get_batch(indices[i : i + 32]) for i in indices[::32]], source.device) / len(source),
    ]
    return dict(zip(PARTS, took))


def measure(sizes: Sequence[int], rooms: int, repeats: int) -> dict:
    """Median seconds of each part at each size: JSON-ready."""
    once(sizes[0], 1)  # what is made once in a process
    found = {size: [once(size, rooms) for _ in range(repeats)] for size in sizes}
    rows = {str(size): {part: statistics.median(row[part] for row in found[size]) for part in PARTS} for size in sizes}
    facts = {"rooms": rooms, "repeats": repeats, "device": renderer(), "threads": torch.get_num_threads()}
    return about(rows=rows, machine=machine(), seed=SEED, **facts)


def markdown(result: dict) -> str:
    """Milliseconds of each part, and what a process makes in a second once the rooms are there."""
    lines = []
    for size, row in result["rows"].items():
        rates = [1 / (row["room: plan"] + row["room: view"]), 1 / (row["quartet: place"] + row["quartet: cat"])]
        lines.append([f"{size} px", *(f"{1000 * row[part]:.2f}" for part in PARTS), *(f"{rate:,.0f}" for rate in rates)])
    return (
        f"{markdown_table(['', *(f'{part} (ms)' for part in PARTS), 'rooms/s', 'quartets/s'], lines, numbers_from=1)}\n\n"
        f"{result['rooms']} rooms of seed {result['seed']} and {2 * CATS * PLACEMENTS} quartets in each, medians of "
        f"{result['repeats']}; on {result['device']}, one process with {result['threads']} thread(s); {result['machine']}; "
        f"{result['date']}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.rendering", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 192], help="32 to 512")
    parser.add_argument("--rooms", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as the processes of `cached` have it
    with plain_errors():
        result = measure(arguments.sizes, arguments.rooms, arguments.repeats)
        keep(result, RESULT, markdown(result))


if __name__ == "__main__":
    main()
