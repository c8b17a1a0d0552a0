"""How pictures are resized and cut before an encoder sees them: sizes in, sizes and tiles out.

Sizes are (height, width) in pixels. Each function is one image processor's own arithmetic,
transformers 5.23.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hfmem.errors import UsageError

Size = tuple[int, int]

MAX_ASPECT = 200


def smart_resize(size: Size, *, factor: int, least: int, most: int) -> Size:
    """Sides in multiples of ``factor``, the area between ``least`` and ``most`` pixels.

    1,080 × 1,920 with factor 28 is 1,092 × 1,932 (models/qwen2_vl/image_processing_qwen2_vl.py:
    smart_resize). Raises UsageError for a side that is 200 times the other.
    """
    return film_resize(size, frames=1, pair=1, factor=factor, least=least, most=most)


def film_resize(size: Size, *, frames: int, pair: int, factor: int, least: int, most: int) -> Size:
    """As ``smart_resize``, with the bounds for all frames together.

    models/qwen3_vl/video_processing_qwen3_vl.py: smart_resize; ``pair`` frames share a patch.
    """
    height, width = size
    if pair > 1 and min(size) < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) / min(height, width) > MAX_ASPECT:
        raise UsageError(
            f"A picture of {size[1]:,} × {size[0]:,} is more than {MAX_ASPECT} times as long as "
            "wide.",
            hint="The image processor refuses it (smart_resize); give another --image-size.",
        )
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    area = round(frames / pair) * pair * tall * wide
    if area > most:
        beta = math.sqrt(frames * height * width / most)
        tall = max(factor, math.floor(height / beta / factor) * factor)
        wide = max(factor, math.floor(width / beta / factor) * factor)
    elif area < least:
        beta = math.sqrt(least / (frames * height * width))
        tall = math.ceil(height * beta / factor) * factor
        wide = math.ceil(width * beta / factor) * factor
    return tall, wide


def shrunk(size: Size, *, longest: int, patch: int) -> Size:
    """Patches in height and width of a picture that is shrunk to ``longest`` and filled up to whole
    patches: 1,024 × 1,024 with 16 is 64 × 64 (models/pixtral/image_processing_pixtral.py:
    get_resize_output_image_size)."""
    height, width = size
    ratio = max(height / longest, width / longest)
    if ratio > 1:
        height, width = math.floor(height / ratio), math.floor(width / ratio)
    return (height - 1) // patch + 1, (width - 1) // patch + 1


def within_budget(size: Size, *, patch: int, pool: int, soft_tokens: int) -> int:
    """Pooled patches of a picture that is scaled to at most ``soft_tokens`` of them.

    models/gemma4/image_processing_gemma4.py: get_aspect_ratio_preserving_size. 768 × 768 with
    patches of 16, pooled 3 × 3, in 280: 16 × 16 = 256.
    """
    side = pool * patch
    factor = math.sqrt(soft_tokens * side**2 / (size[0] * size[1]))
    tall, wide = (math.floor(factor * each / side) for each in size)
    if tall == 0:
        tall, wide = 1, min(size[1] // size[0], soft_tokens)
    elif wide == 0:
        tall, wide = min(size[0] // size[1], soft_tokens), 1
    return tall * wide


def best_resolution(size: Size, resolutions: Iterable[Size]) -> Size:
    """The resolution that keeps most of a picture and wastes least (image_processing_utils.py:
    select_best_resolution)."""
    best, most_kept, least_wasted = (0, 0), -1, math.inf
    for tall, wide in resolutions:
        scale = min(wide / size[1], tall / size[0])
        kept = min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])
        wasted = tall * wide - kept
        if kept > most_kept or (kept == most_kept and wasted < least_wasted):
            best, most_kept, least_wasted = (tall, wide), kept, wasted
    return best


def unpadded(size: Size, grid: Size) -> Size:
    """Rows and columns of patches that are left when the padding around a picture is cut away.

    models/llava_next/processing_llava_next.py: _get_unpadded_features.
    """
    height, width = size
    rows, columns = grid
    if width / height > columns / rows:
        filled = int(round(height * (columns / width), 7))
        rows -= (rows - filled) // 2 * 2
    else:
        filled = int(round(width * (rows / height), 7))
        columns -= (columns - filled) // 2 * 2
    return rows, columns


def canvas_by_ratio(size: Size, *, tile: Size, least: int, most: int) -> int:
    """Tiles of the grid whose shape is nearest a picture's: 2 × 4 = 8 for 800 × 1,600 in tiles of
    448 and at most 12 (models/got_ocr2/image_processing_got_ocr2.py: get_optimal_tiled_canvas)."""
    ratio, area = size[1] / size[0], size[0] * size[1]
    grids = [
        (wide, tall)
        for wide in range(1, most + 1)
        for tall in range(1, most + 1)
        if least <= wide * tall <= most
    ]
    best, nearest = (1, 1), math.inf
    for wide, tall in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        away = abs(ratio - wide / tall)
        if away < nearest:
            best, nearest = (wide, tall), away
        elif away == nearest and area > 0.5 * tile[0] * tile[1] * wide * tall:
            best = (wide, tall)
    return best[0] * best[1]


def canvas_by_scale(size: Size, *, tile: int, most: int) -> int:
    """Tiles of the canvas that needs the least scaling up, or else the least scaling down.

    models/llama4/image_processing_llama4.py: find_supported_resolutions, get_best_fit. The smallest
    of several equally good ones.
    """
    scales = {
        (tall, wide): min(tall * tile / size[0], wide * tile / size[1])
        for tall in range(1, most + 1)
        for wide in range(1, most // tall + 1)
    }
    upward = [scale for scale in scales.values() if scale >= 1]
    chosen = min(upward) if upward else max(scales.values())
    return min(tall * wide for (tall, wide), scale in scales.items() if scale == chosen)


def split_by_side(size: Size, *, longest: int, tile: int) -> int:
    """Tiles of a picture that is scaled to ``longest`` and cut into squares; 0 where it is one.

    models/idefics3/image_processing_idefics3.py: get_number_of_image_patches.
    """
    tall, wide = _scaled_to(size, longest)
    rows, columns = math.ceil(tall / tile), math.ceil(wide / tile)
    return rows * columns if rows > 1 or columns > 1 else 0


def _scaled_to(size: Size, longest: int) -> Size:
    height, width = size
    ratio = width / height
    if width >= height:
        width, height = longest, int(longest / ratio)
        height += height % 2
    else:
        height, width = longest, int(longest * ratio)
        width += width % 2
    return max(height, 1), max(width, 1)


def square_root(patches: int) -> int:
    """Patches on a side of a square picture."""
    return math.isqrt(patches)


def pinpoints(values: Sequence[object]) -> tuple[Size, ...]:
    """A list of [height, width] pairs; what is no such pair is left out."""
    return tuple(
        (pair[0], pair[1])
        for pair in values
        if isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(type(side) is int and 0 < side < 2**20 for side in pair)
    )


def within_patches(size: Size, *, patch: int, merge: int, most: int, side: int | None) -> Size:
    """Pixels of a picture that is scaled down to ``most`` patches, ``side`` on an edge, and filled
    up to whole cells of ``merge`` patches (models/kimi_k25/image_processing_kimi_k25.py:
    navit_resize). 1,080 × 1,920 in 16,384 patches of 14: 1,092 × 1,932."""
    height, width = size
    scale = min(1.0, math.sqrt(most / (max(1, height // patch) * max(1, width // patch))))
    if side is not None:
        scale = min(scale, side * patch / height, side * patch / width)
    tall, wide = max(1, int(height * scale)), max(1, int(width * scale))
    if side is not None:
        tall, wide = min(tall, side * patch), min(wide, side * patch)
    cell = merge * patch
    return -(-tall // cell) * cell, -(-wide // cell) * cell


def sliced_grid(size: Size, *, side: int, most: int) -> Size | None:
    """Rows and columns that MiniCPM-V cuts a picture into; None where it stays whole.

    models/minicpmv4_6/image_processing_minicpmv4_6.py: get_sliced_grid. 1,080 × 1,920 in slices of
    448 and at most 9: 2,073,600 / 200,704 is more than 9, so 8 or 9 slices, 2 × 4.
    """
    height, width = size
    log_ratio = math.log(width / height)
    multiple = min(math.ceil(width * height / side**2), most)
    if multiple <= 1:
        return None
    best, nearest = (1, 1), math.inf
    for count in (multiple - 1, multiple, multiple + 1):
        if count == 1 or count > most:
            continue
        for rows in (row for row in range(1, count + 1) if count % row == 0):
            away = abs(log_ratio - math.log(count // rows / rows))
            if away < nearest or (away == nearest and rows > best[0]):
                best, nearest = (rows, count // rows), away
    return best


def canvas_of_least_scaling(size: Size, *, tile: int, most: int) -> int:
    """Tiles of the grid that scales a picture up least, or else down least; the first of several
    (models/cohere2_vision/image_processing_cohere2_vision.py: get_optimal_tiled_canvas)."""
    grids = sorted(
        ((wide, tall) for wide in range(1, most + 1) for tall in range(1, most // wide + 1)),
        key=lambda grid: grid[0] * grid[1],
    )
    scales = [min(wide * tile / size[1], tall * tile / size[0]) for wide, tall in grids]
    upward = [scale for scale in scales if scale >= 1]
    chosen = scales.index(min(upward) if upward else max(scales))
    return grids[chosen][0] * grids[chosen][1]


def ratio_grid(size: Size, *, tile: int, least: int, most: int) -> Size:
    """Rows and columns of the grid whose shape is nearest a picture's, of ``least`` tiles or more
    (models/lfm2_vl/image_processing_lfm2_vl.py: find_closest_aspect_ratio)."""
    ratio, area = size[1] / size[0], size[0] * size[1]
    grids = sorted(
        (
            (wide, tall)
            for wide in range(1, most + 1)
            for tall in range(1, most // wide + 1)
            if wide * tall >= least
        ),
        key=lambda grid: grid[0] * grid[1],
    )
    best, nearest = (1, 1), math.inf
    for wide, tall in grids:
        away = abs(ratio - wide / tall)
        if away < nearest:
            best, nearest = (wide, tall), away
        elif away == nearest and area > 0.5 * tile**2 * wide * tall:
            best = (wide, tall)
    return best[1], best[0]


def roomiest_canvas(size: Size, *, tile: int, most: int) -> int:
    """Tiles of the canvas that a picture fits into unshrunk and fills best; of the one nearest its
    shape where it fits into none.

    models/perception_lm/image_processing_perception_lm.py: _fit_image_to_canvas,
    _find_closest_aspect_ratio. A canvas of the same shape as an earlier one stands behind it.
    """
    height, width = size
    shapes: dict[float, list[Size]] = {}
    for count in range(most, 0, -1):
        for wide in (each for each in range(1, count + 1) if count % each == 0):
            shapes.setdefault(wide / (count // wide), []).append((wide, count // wide))
    scale, best, filled = width / height, None, -1.0
    for wide, tall in (grid for grids in shapes.values() for grid in grids):
        if wide * tile < width or tall * tile < height:
            continue
        factor = min(wide * tile / width, tall * tile / height)
        if scale > 1:
            shorter = float(math.floor(factor * width / scale))
        else:
            new_height = factor * height
            shorter = float(math.floor(new_height * scale)) if scale < 1 else new_height
        if best is None or shorter >= filled:
            best, filled = (wide, tall), shorter
    if best is None:
        if scale >= 1:
            nearest = min((k for k in shapes if k <= scale), key=lambda k: abs(k - scale))
            best = max(shapes[nearest], key=lambda grid: grid[0])
        else:
            nearest = min((k for k in shapes if k > scale), key=lambda k: abs(1 / k - 1 / scale))
            best = max(shapes[nearest], key=lambda grid: grid[1])
    return best[0] * best[1]
