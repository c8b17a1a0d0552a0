"""Token rules of pictures and film that keep their own resolution: cells of a grid are tokens.

The families differ in the bounds that a picture is scaled into, in how many frames share a cell,
and in whether rows end with a break. Read from transformers 5.23; Kimi-VL's from its own code.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from hfmem.model.media import Found, Kind, MediaInput, Reader, TowerPass, sized
from hfmem.model.picture_grids import Size, film_resize, smart_resize, within_patches

_LEAST: Final = ("min_pixels", "size.shortest_edge")
_MOST: Final = ("max_pixels", "size.longest_edge")


class Bounds(Struct, frozen=True, kw_only=True):
    """The defaults of one processor's class; its file overrides each."""

    owner: str
    least: int
    """Pixels that a picture is scaled up to."""
    most: int
    """Pixels that it is scaled down to."""
    patch: int = 14
    merge: int = 2
    pair: int = 1
    """Frames that share a cell; for a picture 2 where the bounds are of two frames (GLM-4V)."""
    together: bool = False
    """Whether the bounds hold for all frames together."""


GLM_IMAGE: Final = Bounds(
    owner="Glm4vImageProcessor", least=112 * 112, most=28 * 28 * 15_000, pair=2
)
GLM_VIDEO: Final = Bounds(
    owner="Glm4vVideoProcessor", least=112 * 112, most=28 * 28 * 2 * 30_000, pair=2, together=True
)
ERNIE_IMAGE: Final = Bounds(
    owner="Ernie4_5_VLMoeImageProcessor", least=56 * 56, most=28 * 28 * 6177
)
ERNIE_VIDEO: Final = Bounds(
    owner="Ernie4_5_VLMoeVideoProcessor", least=299 * 28 * 28, most=1196 * 28 * 28, pair=2
)
HUNYUAN_IMAGE: Final = Bounds(
    owner="HunYuanVLImageProcessor", least=512 * 512, most=2048 * 2048, patch=16
)
MINIMAX_IMAGE: Final = Bounds(owner="MiniMaxM3VLImageProcessor", least=4 * 28 * 28, most=451_584)
MINIMAX_VIDEO: Final = Bounds(
    owner="MiniMaxM3VLVideoProcessor", least=4 * 28 * 28, most=768 * 28 * 28, pair=2
)
VIDEO_LLAMA_IMAGE: Final = Bounds(
    owner="VideoLlama3ImageProcessor", least=56 * 56, most=28 * 28 * 1280, merge=1
)
VIDEO_LLAMA_VIDEO: Final = Bounds(
    owner="VideoLlama3VideoProcessor", least=128 * 28 * 28, most=28 * 28 * 768
)
PADDLE_IMAGE: Final = Bounds(owner="PaddleOCRVLImageProcessor", least=384 * 384, most=1536 * 1536)
EMU3_IMAGE: Final = Bounds(
    owner="Emu3ImageProcessor", least=512 * 512, most=1024 * 1024, patch=8, merge=1
)


def glm4v_images(reader: Reader, media: MediaInput) -> Found:
    """GLM-4V and 4.5V: 28 pixels a cell; 1,920 × 1,080 → 1,932 × 1,092, 69 × 39 = 2,691 tokens.

    models/glm4v/image_processing_glm4v.py: smart_resize bounds a picture as two frames.
    """
    return _pictures(reader, media, GLM_IMAGE)


def glm4v_frames(reader: Reader, media: MediaInput) -> Found:
    """GLM-4V: two frames share their cells, all frames are bounded together."""
    return _film(reader, media, GLM_VIDEO)


def ernie_images(reader: Reader, media: MediaInput) -> Found:
    """ERNIE 4.5 VL (models/ernie4_5_vl_moe/image_processing_ernie4_5_vl_moe.py)."""
    return _pictures(reader, media, ERNIE_IMAGE)


def ernie_frames(reader: Reader, media: MediaInput) -> Found:
    """ERNIE 4.5 VL: two frames share their cells, each is bounded by itself."""
    return _film(reader, media, ERNIE_VIDEO)


def minimax_images(reader: Reader, media: MediaInput) -> Found:
    """MiniMax-M3 (models/minimax_m3_vl/image_processing_minimax_m3_vl.py)."""
    return _pictures(reader, media, MINIMAX_IMAGE)


def minimax_frames(reader: Reader, media: MediaInput) -> Found:
    """MiniMax-M3: two frames share their cells, each is bounded by itself."""
    return _film(reader, media, MINIMAX_VIDEO)


def video_llama_images(reader: Reader, media: MediaInput) -> Found:
    """VideoLLaMA 3: every patch is a token (models/video_llama_3)."""
    return _pictures(reader, media, VIDEO_LLAMA_IMAGE)


def video_llama_frames(reader: Reader, media: MediaInput) -> Found:
    """VideoLLaMA 3: the largest area is shared out among the frames
    (video_processing_video_llama_3.py: get_num_of_video_patches)."""
    bounds = _bounds(reader, "video", VIDEO_LLAMA_VIDEO)
    most = max(bounds.most // media.frames, 1)
    tall, wide = _scaled(sized(media, "frames"), bounds, most=most)
    return _counted("video", media.frames, media.frames, (tall, wide), bounds)


def paddle_images(reader: Reader, media: MediaInput) -> Found:
    """PaddleOCR-VL (models/paddleocr_vl/image_processing_paddleocr_vl.py)."""
    return _pictures(reader, media, PADDLE_IMAGE)


def hunyuan_images(reader: Reader, media: MediaInput) -> Found:
    """HunYuan-VL: cells, a break after every row, and two tokens around all of them
    (models/hunyuan_vl/processing_hunyuan_vl.py: _get_num_multimodal_tokens)."""
    bounds = _bounds(reader, "image", HUNYUAN_IMAGE)
    return _with_breaks(media, bounds, around=2)


def emu3_images(reader: Reader, media: MediaInput) -> Found:
    """Emu3: a code for every 8 × 8 pixels and a break after every row
    (models/emu3/processing_emu3.py: _get_num_multimodal_tokens)."""
    return _with_breaks(media, _bounds(reader, "image", EMU3_IMAGE), around=0, tower=False)


def kimi_k25_images(reader: Reader, media: MediaInput) -> Found:
    """Kimi-K2.5: scaled down into 16,384 patches of 14 and 512 on a side, filled up to whole cells
    (models/kimi_k25/image_processing_kimi_k25.py: navit_resize)."""
    return _kimi(reader, media, "image", owner="Kimi_K25ImageProcessor", most=16_384)


def kimi_k25_frames(reader: Reader, media: MediaInput) -> Found:
    """Kimi-K2.5: four frames share the cells of one, 4,096 patches at most
    (models/kimi_k25/video_processing_kimi_k25.py)."""
    return _kimi(reader, media, "video", owner="Kimi_K25VideoProcessor", most=4096)


def _kimi(reader: Reader, media: MediaInput, kind: Kind, *, owner: str, most: int) -> Found:
    patch = reader.processor(kind, "patch_size", default=14, owner=owner)
    merge = reader.processor(kind, "merge_size", default=2, owner=owner)
    # The key is the repository's own code's in the first place, the class's in the second.
    limit = reader.processor(kind, "in_patch_limit", "max_patches", default=most, owner=owner)
    side = reader.processor(
        kind, "patch_limit_on_one_side", "size.max_height", default=512, owner=owner
    )
    pair = 1
    if kind == "video":
        pair = reader.processor(kind, "temporal_patch_size", default=4, owner=owner)
    count = media.frames if kind == "video" else media.images
    size = within_patches(
        sized(media, "frames" if kind == "video" else "pictures"),
        patch=patch,
        merge=merge,
        most=limit,
        side=side,
    )
    bounds = Bounds(owner=owner, least=1, most=1, patch=patch, merge=merge)
    return _counted(kind, count, math.ceil(count / pair), size, bounds)


def kimi_vl_images(reader: Reader, media: MediaInput) -> Found:
    """Kimi-VL: scaled down into 4,096 patches of 14, filled up to whole cells of four
    (its image_processing_kimi_vl.py: KimiVLImageProcessor.rescale)."""
    owner = "KimiVLImageProcessor"
    patch = reader.processor("image", "patch_size", default=14, owner=owner)
    limit = reader.processor("image", "in_token_limit", default=4096, owner=owner)
    size = within_patches(sized(media, "pictures"), patch=patch, merge=2, most=limit, side=None)
    bounds = Bounds(owner=owner, least=1, most=1, patch=patch)
    return _counted("image", media.images, media.images, size, bounds)


def _bounds(reader: Reader, kind: Kind, default: Bounds) -> Bounds:
    owner = default.owner
    paths = zip(
        (("patch_size", "spatial_factor"), ("merge_size",), _LEAST, _MOST),
        (default.patch, default.merge, default.least, default.most),
        strict=True,
    )
    patch, merge, least, most = (
        reader.processor(kind, *keys, default=value, owner=owner) for keys, value in paths
    )
    pair = default.pair
    if kind == "video" and pair > 1:
        pair = reader.processor(kind, "temporal_patch_size", default=pair, owner=owner)
    return Bounds(
        owner=owner,
        least=least,
        most=most,
        patch=patch,
        merge=merge,
        pair=pair,
        together=default.together,
    )


def _scaled(size: Size, bounds: Bounds, *, most: int | None = None) -> Size:
    return smart_resize(
        size, factor=bounds.patch * bounds.merge, least=bounds.least, most=most or bounds.most
    )


def _pictures(reader: Reader, media: MediaInput, default: Bounds) -> Found:
    bounds = _bounds(reader, "image", default)
    size = film_resize(
        sized(media, "pictures"),
        frames=bounds.pair,
        pair=bounds.pair,
        factor=bounds.patch * bounds.merge,
        least=bounds.least,
        most=bounds.most,
    )
    return _counted("image", media.images, media.images, size, bounds)


def _film(reader: Reader, media: MediaInput, default: Bounds) -> Found:
    bounds = _bounds(reader, "video", default)
    frames = media.frames + -media.frames % bounds.pair
    size = film_resize(
        sized(media, "frames"),
        frames=frames if bounds.together else 1,
        pair=bounds.pair if bounds.together else 1,
        factor=bounds.patch * bounds.merge,
        least=bounds.least,
        most=bounds.most,
    )
    return _counted("video", media.frames, frames // bounds.pair, size, bounds)


def _counted(kind: Kind, asked: int, items: int, size: Size, bounds: Bounds) -> Found:
    """``items`` grids of a resized picture, of ``asked`` pictures or frames."""
    cell = bounds.patch * bounds.merge
    rows, columns = size[0] // cell, size[1] // cell
    total = items * rows * columns
    what = "frames" if kind == "video" else "pictures"
    return Found(
        tokens=total,
        rule=f"{asked} {what} of {size[1]:,} × {size[0]:,} pixels, {items} × {columns} × {rows} "
        f"cells of {cell} = {total:,} tokens",
        passes=(_pass(kind, items, size, patch=bounds.patch),),
    )


def _with_breaks(media: MediaInput, bounds: Bounds, *, around: int, tower: bool = True) -> Found:
    tall, wide = _scaled(sized(media, "pictures"), bounds)
    cell = bounds.patch * bounds.merge
    rows, columns = tall // cell, wide // cell
    each = rows * (columns + 1) + around
    total = media.images * each
    shown = f"{rows} × ({columns} + 1)" + (f" + {around}" if around else "")
    run = _pass("image", media.images, (tall, wide), patch=bounds.patch)
    return Found(
        tokens=total,
        rule=f"{media.pictures} × ({shown}) = {total:,} tokens",
        passes=(run,) if tower else (),
    )


def _pass(kind: Kind, items: int, size: Size, *, patch: int) -> TowerPass:
    return TowerPass(
        section="vision_config",
        kind=kind,
        items=items,
        positions=(size[0] // patch) * (size[1] // patch),
        values=3 * size[0] * size[1],
    )
