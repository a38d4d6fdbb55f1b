"""Paint a part of the Mandelbrot set in 80 tiles, whose costs differ by a factor of 41.

The pixels are the same on every machine and in every version of Python, because floats are used
only with ``+ - * /``, comparisons and ``sqrt``, which IEEE 754 defines to the last bit. Logarithms
of the system's library, products of complex numbers, and ``sum()`` of floats are not used.
"""

import argparse
import hashlib
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from itertools import pairwise
from math import frexp, sqrt
from pathlib import Path
from typing import Any

from cloud_tasks.worker import Worker, WorkerData

COLUMNS, ROWS = 10, 8
WIDTH, HEIGHT = 42, 36  # of a tile, in pixels
#: Each pixel is the mean of SAMPLES x SAMPLES points.
SAMPLES = 2
#: The middle of the picture in the complex plane, and the side of a pixel.
MIDDLE = (0.2941, -0.0149)
SIDE = 0.0078 / (COLUMNS * WIDTH)
#: A point that is inside the circle after this number of steps counts as one of the set.
LAST_STEP = 700
#: The radius of that circle, squared; a large radius makes the colours smooth.
FAR = 10_000.0

INSIDE = (8.0, 10.0, 22.0)
#: Positions on the colour wheel, from 0 to 1, and their colours.
STOPS = [
    (0.00, (12, 20, 60)),
    (0.20, (24, 82, 150)),
    (0.42, (120, 190, 215)),
    (0.58, (250, 244, 220)),
    (0.74, (245, 178, 66)),
    (0.88, (160, 50, 40)),
    (1.00, (12, 20, 60)),
]
SHADES = 2048

Colour = tuple[float, float, float]


# -- a task


def paint_tile(
    task_id: str, task_data: dict[str, Any], worker_data: WorkerData
) -> tuple[bool, dict[str, Any]]:
    left, top = task_data["column"] * WIDTH, task_data["row"] * HEIGHT
    pixels, total = bytearray(), 0
    for y in range(top, top + HEIGHT):
        for x in range(left, left + WIDTH):
            pixel, steps = paint_pixel(x, y)
            pixels += pixel
            total += steps
    file = tile_file(Path(worker_data.args.output_dir), task_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    # A task may be killed at any moment, so the file gets its name when it is complete.
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + pixels)
    unfinished.replace(file)
    return False, {"file": str(file), "steps": total}


def paint_pixel(x: int, y: int) -> tuple[bytes, int]:
    """Return red, green and blue of a pixel, and the number of steps it took."""
    red = green = blue = 0.0
    total = 0
    for part in range(SAMPLES * SAMPLES):
        column, row = part % SAMPLES, part // SAMPLES
        colour, steps = paint_sample(
            *point(x + (column + 0.5) / SAMPLES, y + (row + 0.5) / SAMPLES)
        )
        red, green, blue = red + colour[0], green + colour[1], blue + colour[2]
        total += steps
    count = SAMPLES * SAMPLES
    return bytes(min(255, int(c / count + 0.5)) for c in (red, green, blue)), total


def point(x: float, y: float) -> tuple[float, float]:
    """Return the point of the complex plane that is *x* pixels from the left, *y* from the top."""
    return (
        MIDDLE[0] + (x - COLUMNS * WIDTH / 2) * SIDE,
        MIDDLE[1] - (y - ROWS * HEIGHT / 2) * SIDE,
    )


def walk(a: float, b: float) -> tuple[int, float, float, float, float]:
    """Iterate z -> z * z + c until z is far away, with its derivative with respect to c.

    Returns:
        the number of steps, then z and the derivative.
    """
    x = y = u = v = 0.0
    for step in range(LAST_STEP):
        xx, yy = x * x, y * y
        if xx + yy > FAR:
            return step, x, y, u, v
        u, v = 2.0 * (x * u - y * v) + 1.0, 2.0 * (x * v + y * u)
        x, y = xx - yy + a, 2.0 * x * y + b
    return LAST_STEP, x, y, u, v


def paint_sample(a: float, b: float) -> tuple[Colour, int]:
    """Return the colour of one point, and the number of steps it took."""
    steps, x, y, u, v = walk(a, b)
    if steps == LAST_STEP:
        return INSIDE, steps
    square, slope = x * x + y * y, sqrt(u * u + v * v)
    size, magnitude = sqrt(square), log2(square)
    # The escape time, interpolated between whole steps, determines the colour.
    smooth = steps + 1.0 - log2(magnitude / log2(FAR))
    red, green, blue = SHADE[int(SHADES * (0.2 * sqrt(max(0.0, smooth)) + 0.4)) % SHADES]
    # The slope towards the set is lit from the upper left.
    light = 0.7 * ((y * u - x * v) - (x * u + y * v)) / (size * slope)
    brightness = 0.45 + 0.75 * min(1.0, max(0.0, (light + 1.4) / 2.4))
    # Points within about half a pixel of the set are dark; log2(e) is 1.4427.
    distance = size * magnitude / 1.4427 / slope / SIDE * SAMPLES
    brightness *= sqrt(min(1.0, distance))
    return (red * brightness, green * brightness, blue * brightness), steps


def log2(number: float) -> float:
    """Return the binary logarithm, to nine digits and the same on every machine."""
    mantissa, exponent = frexp(number)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    power, total = ratio, 0.0
    for odd in range(1, 18, 2):
        total += power / odd
        power *= ratio * ratio
    return exponent + 2.885390081777927 * total  # 2 / ln 2


def make_shades() -> Iterator[Colour]:
    for shade in range(SHADES):
        place = shade / SHADES
        for (start, first), (end, last) in pairwise(STOPS):
            if start <= place < end:
                part = (place - start) / (end - start)
                yield (
                    first[0] + (last[0] - first[0]) * part,
                    first[1] + (last[1] - first[1]) * part,
                    first[2] + (last[2] - first[2]) * part,
                )


SHADE = list(make_shades())


# -- the list of tasks


def tile_tasks(order: str) -> list[dict[str, Any]]:
    places = [(column, row) for row in range(ROWS) for column in range(COLUMNS)]
    if order != "rows":
        places.sort(key=guess, reverse=order == "hardest-first")
    return [
        {"task_id": tile_name(column, row), "data": {"column": column, "row": row}}
        for column, row in places
    ]


def guess(place: tuple[int, int]) -> int:
    """Estimate the cost of a tile from 42 of its 6,048 samples."""
    left, top = place[0] * WIDTH, place[1] * HEIGHT
    return sum(
        walk(*point(left + x, top + y))[0] for x in range(3, WIDTH, 6) for y in range(3, HEIGHT, 6)
    )


def tile_name(column: int, row: int) -> str:
    return f"tile-{row}-{column}"


def tile_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.ppm"


# -- the picture


def stitch(folder: Path) -> None:
    """Join the tiles into a picture, if none is missing."""
    names = [tile_name(column, row) for row in range(ROWS) for column in range(COLUMNS)]
    missing = [name for name in names if not tile_file(folder, name).exists()]
    if missing:
        print(f"no picture yet: {len(missing)} of {len(names)} tiles are missing in {folder}")
        return
    pixels = bytearray()
    line = WIDTH * 3
    for row in range(ROWS):
        tiles = [
            tile_file(folder, tile_name(column, row)).read_bytes()[-line * HEIGHT :]
            for column in range(COLUMNS)
        ]
        for y in range(HEIGHT):
            for tile in tiles:
                pixels += tile[y * line : (y + 1) * line]
    file = folder / "picture.png"
    file.write_bytes(png(COLUMNS * WIDTH, ROWS * HEIGHT, bytes(pixels)))
    print(f"{file}: {COLUMNS * WIDTH} x {ROWS * HEIGHT} pixels")
    # The hash is of the pixels, because the compressed bytes depend on the version of zlib.
    print(f"sha256 of its pixels: {hashlib.sha256(pixels).hexdigest()}")


def png(width: int, height: int, pixels: bytes) -> bytes:
    lines = bytearray()
    for y in range(height):
        line = pixels[y * 3 * width : (y + 1) * 3 * width]
        # Filter 1: each byte minus that of the pixel to its left, which compresses better.
        lines.append(1)
        lines += bytes(
            (here - left) % 256 for left, here in zip(b"\0\0\0" + line[:-3], line, strict=True)
        )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--order", choices=("rows", "hardest-first", "hardest-last"), default="rows"
    )
    parser.add_argument("--output-dir", default="tiles", help="folder for tiles and picture")

    def tiles_in_order() -> list[dict[str, Any]]:
        return tile_tasks(worker.data.args.order)

    worker = Worker(paint_tile, task_source=tiles_in_order, args=sys.argv[1:], argparser=parser)
    try:
        worker.main()
    finally:  # main() ends the program
        stitch(Path(worker.data.args.output_dir))
