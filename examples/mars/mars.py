"""Find when Mars was, and will be, closest to Earth in each year from 1900 to 2050.

Positions are those of JPL's ephemeris DE421. Distances are from centre to centre at one instant,
so the time that light takes is left out. Dates are in TDB, about a minute ahead of UTC.
"""

import argparse
import functools
import json
import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

try:
    import skyfield_data
    from jplephem.spk import SPK
except ImportError as error:
    needed = shlex.quote(str(Path(__file__).with_name("requirements.txt")))
    sys.exit(f"error: the package {error.name} is missing: pip install -r {needed}")

from cloud_tasks.worker import Worker, WorkerData

YEARS = range(1900, 2051)
KILOMETRES = 149_597_870.7  # of an astronomical unit
EPOCH = datetime(2000, 1, 1, 12)  # is the Julian day
EPOCH_DAY = 2_451_545.0
COARSE = 4.0  # days; the distance has one minimum in two years
MINUTE = 1 / 1440


# -- a task


def closest_in_year(
    task_id: str, task_data: dict[str, Any], worker_data: WorkerData
) -> tuple[bool, dict[str, Any]]:
    first, last = (julian_day(datetime(task_data["year"] + n, 1, 1)) for n in (0, 1))
    days = [first + COARSE * n for n in range(int((last - first) / COARSE) + 1)] + [last]
    nearest = min(days, key=distance)
    low, high = max(first, nearest - COARSE), min(last, nearest + COARSE)
    while high - low > MINUTE / 100:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if distance(left) < distance(right):
            high = right
        else:
            low = left
    moment = (low + high) / 2
    return False, {
        "date": calendar(moment).isoformat(" ", "minutes"),
        "au": round(distance(moment), 7),
        # False: the closest approach is in the year before or after.
        "approach": first + MINUTE < moment < last - MINUTE,
    }


def distance(day: float) -> float:
    """Return how far Mars is from Earth at a Julian day, in astronomical units."""
    kernel = ephemeris()
    # Segments lead from the solar system's barycentre to the planet's barycentre to the planet.
    earth = kernel[0, 3].compute(day) + kernel[3, 399].compute(day)
    mars = kernel[0, 4].compute(day) + kernel[4, 499].compute(day)
    return math.dist(earth, mars) / KILOMETRES


@functools.cache
def ephemeris() -> Any:
    """Return the ephemeris, opened once per process."""
    with resources.as_file(resources.files(skyfield_data) / "data" / "de421.bsp") as file:
        return SPK.open(str(file))


def julian_day(date: datetime) -> float:
    return EPOCH_DAY + (date - EPOCH) / timedelta(days=1)


def calendar(day: float) -> datetime:
    return EPOCH + timedelta(days=day - EPOCH_DAY)


def year_tasks() -> Iterator[dict[str, Any]]:
    for year in YEARS:
        yield {"task_id": str(year), "data": {"year": year}}


# -- the results in the events


@dataclass(frozen=True)
class Approach:
    """One closest approach of Mars."""

    date: datetime
    au: float


def merge(events: Path, folder: Path) -> None:
    """Print when Mars is closest and draw all approaches, if no year is missing."""
    results = dict(read_results(events))
    missing = [year for year in YEARS if str(year) not in results]
    if missing:
        print(f"no picture yet: {len(missing)} of {len(YEARS)} years are missing in {events}")
        return
    found = [results[str(year)] for year in YEARS]
    approaches = [
        Approach(datetime.fromisoformat(result["date"]), result["au"])
        for result in found
        if result["approach"]
    ]
    best = min(approaches, key=lambda approach: approach.au)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mars.svg"
    file.write_text(draw(approaches), encoding="utf-8")
    print(f"{file}: {len(approaches)} approaches in {len(YEARS)} years")
    print(f"the closest: {best.date:%Y-%m-%d %H:%M}, {best.au:.4f} au")


def read_results(events: Path) -> Iterator[tuple[str, Any]]:
    lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
    for event in map(json.loads, lines):
        if event["event_type"] == "task_completed":
            yield event["task_id"], event["result"]


# -- the picture

WIDTH, HEIGHT = 960, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 930, 118, 384
NEAR, FAR = 0.36, 0.70  # au, at the top and at the bottom
#: Pixels a second of arc, for the radius; Mars is 9.36 seconds wide seen from 1 au.
RADIUS = 0.27 * 9.36

LEGEND = (
    "Each disc is a close approach, as large as Mars then looks; a ring marks the closest of all."
)
STYLE = """
text { font-family: system-ui, 'Helvetica Neue', Arial, sans-serif; fill: #6f6257; font-size: 12px }
.title { font-size: 21px; font-weight: 600; fill: #3d332b }
.peak { font-weight: 600; fill: #8c3b1f; text-anchor: middle }
.small { font-size: 11px; text-anchor: middle }
.tick { text-anchor: middle }
.level { text-anchor: end }
"""


def draw(approaches: list[Approach]) -> str:
    places = [(across(a.date), up(a.au)) for a in approaches]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="name">',
        '<title id="name">Close approaches of Mars, 1900 to 2050</title>',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#fcf9f4"/>',
        text(LEFT - 34, 42, "Mars comes really close every 15 to 17 years", "title"),
        text(LEFT - 34, 64, LEGEND),
        *grid(),
        f'<path d="{curve(places)}" fill="none" stroke="#d9c4b0" stroke-width="1.2"/>',
        *(disc(a, *place) for a, place in zip(approaches, places, strict=True)),
        ring(min(approaches, key=lambda approach: approach.au)),
        *(line for a in peaks(approaches) for line in peak_label(a)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def across(date: datetime) -> float:
    share = (date - datetime(YEARS[0], 1, 1)) / (
        datetime(YEARS[-1] + 1, 1, 1) - datetime(YEARS[0], 1, 1)
    )
    return LEFT + share * (RIGHT - LEFT)


def up(au: float) -> float:
    return TOP + (au - NEAR) / (FAR - NEAR) * (BOTTOM - TOP)


def text(x: float, y: float, words: str, kind: str = "plain") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{words}</text>'


def grid() -> Iterator[str]:
    for tenth in range(4, 8):
        y = up(tenth / 10)
        yield f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ece3d8"/>'
        yield text(LEFT - 8, y + 4, f"0.{tenth} au", "level")
    for year in range(YEARS[0], YEARS[-1] + 1, 10):
        yield text(across(datetime(year, 1, 1)), BOTTOM + 34, str(year), "tick")


def curve(places: list[tuple[float, float]]) -> str:
    """Return a smooth curve through *places* that never rises above a peak."""
    slopes = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(places)]
    slopes = [0.0, *(gentle(before, after) for before, after in pairwise(slopes)), 0.0]
    words = [f"M{places[0][0]:.1f} {places[0][1]:.1f}"]
    for ((x0, y0), (x1, y1)), (out, into) in zip(pairwise(places), pairwise(slopes), strict=True):
        third = (x1 - x0) / 3
        words.append(
            f"C{x0 + third:.1f} {y0 + third * out:.1f}"
            f" {x1 - third:.1f} {y1 - third * into:.1f} {x1:.1f} {y1:.1f}"
        )
    return "".join(words)


def gentle(before: float, after: float) -> float:
    """Return the slope at a point, from the slopes of the lines to its neighbours."""
    if before * after <= 0:
        return 0.0
    most = min(abs(before + after) / 2, 2 * abs(before), 2 * abs(after))
    return math.copysign(most, before)


def disc(approach: Approach, x: float, y: float) -> str:
    share = min(1.0, max(0.0, (FAR - approach.au) / (FAR - NEAR)))
    pale, rust = (226, 190, 152), (188, 74, 38)
    colour = ",".join(f"{p + (r - p) * share:.0f}" for p, r in zip(pale, rust, strict=True))
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS / approach.au:.2f}" fill="rgb({colour})">'
        f"<title>{approach.date:%Y-%m-%d %H:%M}: {approach.au:.4f} au</title></circle>"
    )


def ring(approach: Approach) -> str:
    x, y, radius = across(approach.date), up(approach.au), RADIUS / approach.au + 4
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2f}" fill="none" stroke="#bc4a26"'
        ' stroke-width="1.2"/>'
    )


def peaks(approaches: list[Approach]) -> list[Approach]:
    """Return the approaches that are closer than the one before and the one after."""
    edge = math.inf
    distances = [edge, *(approach.au for approach in approaches), edge]
    return [
        approach
        for approach, before, after in zip(approaches, distances, distances[2:], strict=False)
        if before > approach.au < after
    ]


def peak_label(approach: Approach) -> Iterator[str]:
    x, y = across(approach.date), up(approach.au) - RADIUS / approach.au
    yield text(x, y - 22, f"{approach.date:%Y}", "peak")
    yield text(x, y - 9, f"{approach.au:.4f}", "small")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", default=".", help="folder for the picture")
    worker = Worker(closest_in_year, task_source=year_tasks, args=sys.argv[1:], argparser=parser)
    try:
        worker.main()
    finally:  # main() ends the program
        merge(Path(worker.data.event_log_file), Path(worker.data.args.output_dir))
