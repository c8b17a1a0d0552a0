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
