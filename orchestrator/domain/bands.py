"""Large arrays by bands of rows, so that what is computed on the way follows the band, not the picture."""

from collections.abc import Iterator

ROWS = 256


def bands(height: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """Rows `core` of the whole; the same with `halo` more on either side; and where the core lies in those."""
    for start in range(0, height, ROWS):
        stop = min(start + ROWS, height)
        first, last = max(0, start - halo), min(height, stop + halo)
        yield slice(start, stop), slice(first, last), slice(start - first, stop - first)
