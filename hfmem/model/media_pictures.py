"""Token rules of pictures and film, family by family; LLaVA's are in ``media_llava``.

Counted are the positions that encoded patches take in the prompt, row breaks between them included.
The words and marks that a chat template puts around them are text of the prompt.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec.structs import replace

from hfmem.model.config import Config
from hfmem.model.media import Found, Kind, MediaInput, Reader, TowerPass, sized
from hfmem.model.picture_grids import (
    Size,
    canvas_by_ratio,
    canvas_by_scale,
    film_resize,
    shrunk,
    smart_resize,
    split_by_side,
    within_budget,
)

_CHANNELS: Final = 3
_PIXEL_KEYS: Final = (("min_pixels", "size.shortest_edge"), ("max_pixels", "size.longest_edge"))
_PUBLISHED_PIXELS: Final = {28: (3136, 12_845_056), 32: (65_536, 16_777_216)}
"""preprocessor_config.json of Qwen/Qwen2-VL and Qwen2.5-VL, and of Qwen3-VL and Qwen3.5, by the
side of their cells; the class's own defaults are far smaller."""
_PUBLISHED_FILM_PIXELS: Final = (4096, 25_165_824)
"""video_preprocessor_config.json of Qwen/Qwen3-VL."""


def qwen_images(reader: Reader, media: MediaInput) -> Found:
    """Qwen2-VL and its heirs: a picture is resized to whole cells, and every cell is a token.

    1,920 × 1,080 → 1,932 × 1,092 in cells of 28: 69 × 39 = 2,691 tokens
    (models/qwen2_vl/image_processing_qwen2_vl.py: get_number_of_image_patches).
    """
    patch, merge, pair = _qwen_cells(reader)
    shipped = _PUBLISHED_PIXELS.get(patch * merge, (None, None))
    owner = "Qwen2VLImageProcessor"
    least, most = (
        reader.processor("image", *paths, default=default, owner=owner, published=published)
        for paths, default, published in zip(
            _PIXEL_KEYS, (56 * 56, 28 * 28 * 1280), shipped, strict=True
        )
    )
    size = sized(media, "pictures")
    tall, wide = smart_resize(size, factor=patch * merge, least=least, most=most)
    rows, columns = tall // (patch * merge), wide // (patch * merge)
    total = media.images * rows * columns
    return Found(
        tokens=total,
        rule=f"{media.pictures} of {wide:,} × {tall:,} pixels × {columns} × {rows} cells = "
        f"{total:,} tokens",
        # A picture fills all frames of a patch (image_processing_qwen2_vl.py: patchify).
        passes=(_grid_pass("image", media.images, (tall, wide), patch=patch, frames=pair),),
    )


def qwen2_frames(reader: Reader, media: MediaInput) -> Found:
    """Qwen2-VL and Qwen2.5-VL: two frames share their cells, each frame is bounded by itself."""
    return _qwen_frames(reader, media, together=False, cell=28)


def qwen3_frames(reader: Reader, media: MediaInput) -> Found:
    """Qwen3-VL and Qwen3.5: two frames share their cells, all frames are bounded together."""
    return _qwen_frames(reader, media, together=True, cell=32)


def _qwen_frames(reader: Reader, media: MediaInput, *, together: bool, cell: int) -> Found:
    owner = "Qwen3VLVideoProcessor" if together else "Qwen2VLVideoProcessor"
    patch, merge, pair = _qwen_cells(reader)
    shipped = _PUBLISHED_FILM_PIXELS if together else (None, None)
    least, most = (
        reader.processor("video", *paths, default=default, owner=owner, published=published)
        for paths, default, published in zip(
            _PIXEL_KEYS, (128 * cell**2, 768 * cell**2), shipped, strict=True
        )
    )
    size = sized(media, "frames")
    frames = media.frames + -media.frames % pair
    tall, wide = film_resize(
        size,
        frames=media.frames if together else 1,
        pair=pair if together else 1,
        factor=patch * merge,
        least=least,
        most=most,
    )
    rows, columns = tall // (patch * merge), wide // (patch * merge)
    total = frames // pair * rows * columns
    return Found(
        tokens=total,
        rule=f"{media.frames} frames of {wide:,} × {tall:,} pixels, {pair} at a time: "
        f"{frames // pair} × {columns} × {rows} cells = {total:,} tokens",
        passes=(_grid_pass("video", frames // pair, (tall, wide), patch=patch, frames=pair),),
    )


def _qwen_cells(reader: Reader) -> tuple[int, int, int]:
    """Side of a patch, patches on the side of a cell, frames in a patch: the encoder's own."""
    vision = reader.section("vision_config")
    patch = reader.integer(vision, "patch_size")
    merge = reader.integer(vision, "spatial_merge_size")
    return patch, merge, reader.integer(vision, "temporal_patch_size")


def _grid_pass(kind: Kind, items: int, size: Size, *, patch: int, frames: int = 1) -> TowerPass:
    return TowerPass(
        section="vision_config",
        kind=kind,
        items=items,
        positions=(size[0] // patch) * (size[1] // patch),
        values=_CHANNELS * size[0] * size[1] * frames,
    )


def gemma3_images(reader: Reader, media: MediaInput) -> Found:
    """Gemma 3: as many tokens a picture as the configuration says, whatever its size."""
    each = reader.integer(reader.config, "mm_tokens_per_image")
    return _each(reader, media, each)


def gemma3n_images(reader: Reader, media: MediaInput) -> Found:
    """Gemma 3n: a fixed number a picture (models/gemma3n/processing_gemma3n.py)."""
    each = reader.integer(reader.config, "vision_soft_tokens_per_image")
    total = media.images * each
    return Found(tokens=total, rule=f"{media.pictures} × {each} = {total:,} tokens")


def gemma4_images(reader: Reader, media: MediaInput) -> Found:
    """Gemma 4: a picture is scaled into a budget of pooled patches."""
    return _gemma4(reader, media, "image", count=media.images, budget=280)


def gemma4_frames(reader: Reader, media: MediaInput) -> Found:
    """Gemma 4: the same for every frame, in a smaller budget."""
    return _gemma4(reader, media, "video", count=media.frames, budget=70)


def _gemma4(reader: Reader, media: MediaInput, kind: Kind, *, count: int, budget: int) -> Found:
    """The encoder sees every picture filled up to the budget (image_processing_pil_gemma4.py:
    pad_along_first_dim)."""
    owner = "Gemma4ImageProcessor" if kind == "image" else "Gemma4VideoProcessor"
    what = "pictures" if kind == "image" else "frames"
    patch = reader.processor(kind, "patch_size", default=16, owner=owner)
    pool = reader.processor(kind, "pooling_kernel_size", default=3, owner=owner)
    most = reader.processor(kind, "max_soft_tokens", default=budget, owner=owner)
    each = within_budget(sized(media, what), patch=patch, pool=pool, soft_tokens=most)
    total = count * each
    run = TowerPass(
        section="vision_config",
        kind=kind,
        items=count,
        positions=most * pool**2,
        values=most * pool**2 * _CHANNELS * patch**2,
    )
    return Found(tokens=total, rule=f"{count} {what} × {each} = {total:,} tokens", passes=(run,))


def patches_images(reader: Reader, media: MediaInput) -> Found:
    """PaliGemma: every patch of one square picture: 256, 1,024 or 4,096 tokens."""
    vision = reader.section("vision_config")
    side = _side(reader, vision)
    return _each(reader, media, side * side)


def _each(reader: Reader, media: MediaInput, each: int) -> Found:
    vision = reader.section("vision_config")
    image, side = reader.integer(vision, "image_size"), _side(reader, vision)
    total = media.images * each
    return Found(
        tokens=total,
        rule=f"{media.pictures} × {each} = {total:,} tokens",
        passes=(_square_pass(media.images, image, side * side),),
    )


def _side(reader: Reader, vision: Config) -> int:
    """Patches on the side of a square picture."""
    image, patch = reader.integer(vision, "image_size"), reader.integer(vision, "patch_size")
    if patch > image:
        raise vision.invalid("patch_size", patch, "smaller than the picture")
    return image // patch


def _square_pass(items: int, image: int, positions: int, *, kind: Kind = "image") -> TowerPass:
    return TowerPass(
        section="vision_config",
        kind=kind,
        items=items,
        positions=positions,
        values=_CHANNELS * image**2,
    )


def pixtral_images(reader: Reader, media: MediaInput) -> Found:
    """Pixtral and Mistral 3: cells of a picture as it is, and a break after every row.

    1,024 × 1,024 in patches of 16: 64 × (64 + 1) = 4,160 tokens
    (models/pixtral/processing_pixtral.py: _get_num_multimodal_tokens).
    """
    vision = reader.section("vision_config")
    patch = reader.integer(vision, "patch_size")
    merge = reader.config.integer_or_none("spatial_merge_size", low=1) or 1
    longest = reader.processor(
        "image", "size.longest_edge", default=1024, owner="PixtralImageProcessor"
    )
    size = sized(media, "pictures")
    rows, columns = shrunk(size, longest=longest, patch=patch * merge)
    total = media.images * rows * (columns + 1)
    side = patch * merge
    return Found(
        tokens=total,
        rule=f"{media.pictures} × {rows} × ({columns} + 1) = {total:,} tokens",
        passes=(_grid_pass("image", media.images, (rows * side, columns * side), patch=patch),),
    )


def internvl_images(reader: Reader, media: MediaInput) -> Found:
    """InternVL: a picture is cut into tiles of its shape, and a thumbnail joins them."""
    image, each = _internvl_tile(reader)
    config = reader.config
    most = config.integer_or_none("max_dynamic_patch", low=1, high=1000) or reader.processor(
        "image", "max_patches", default=12, owner="GotOcr2ImageProcessor"
    )
    least = config.integer_or_none("min_dynamic_patch", low=1, high=most) or 1
    cut = config.flag("dynamic_image_size", default=True)
    tiles = 1
    if cut and most > 1:
        size = sized(media, "pictures")
        tiles = canvas_by_ratio(size, tile=(image, image), least=least, most=min(most, 1000))
    thumbnail = int(tiles > 1 and config.flag("use_thumbnail", default=True))
    count = media.images * (tiles + thumbnail)
    total = count * each
    return Found(
        tokens=total,
        rule=f"{media.pictures} × ({tiles} tiles + {thumbnail}) × {each} = {total:,} tokens",
        passes=(_square_pass(count, image, _internvl_patches(reader, image)),),
    )


def internvl_frames(reader: Reader, media: MediaInput) -> Found:
    """InternVL: a frame is one tile."""
    image, each = _internvl_tile(reader)
    total = media.frames * each
    return Found(
        tokens=total,
        rule=f"{media.frames} frames × {each} = {total:,} tokens",
        passes=(_square_pass(media.frames, image, _internvl_patches(reader, image)),),
    )


def _internvl_tile(reader: Reader) -> tuple[int, int]:
    """Side of a tile in pixels, and its tokens: patches times the square of the ratio."""
    config = reader.config
    vision = reader.section("vision_config")
    image = config.integer_or_none("force_image_size", low=1) or reader.integer(
        vision, "image_size"
    )
    ratio = config.number("downsample_ratio") or 0.5
    patch = reader.integer(vision, "patch_size")
    if not 0 < ratio <= 1 or patch > image:
        raise config.invalid("downsample_ratio", ratio, "a ratio above 0 and at most 1")
    reader.said.append(f"{config.where}: downsample_ratio = {ratio:g}")
    return image, int((image // patch) ** 2 * ratio**2)


def _internvl_patches(reader: Reader, image: int) -> int:
    patch = reader.integer(reader.section("vision_config"), "patch_size")
    return (image // patch) ** 2 + 1  # the class token


def llama4_images(reader: Reader, media: MediaInput) -> Found:
    """Llama 4: tiles of 336, at most 16, and the whole picture where there are several.

    (336 / 14)² × 0.25 = 144 tokens a tile (models/llama4/processing_llama4.py).
    """
    vision = reader.section("vision_config")
    image, side = reader.integer(vision, "image_size"), _side(reader, vision)
    ratio = vision.number("pixel_shuffle_ratio") or 0.5
    most = reader.processor("image", "max_patches", default=16, owner="Llama4ImageProcessor")
    tiles = canvas_by_scale(sized(media, "pictures"), tile=image, most=min(most, 1000))
    count = media.images * (tiles + (tiles > 1))
    each = int(side**2 * ratio**2)
    return Found(
        tokens=count * each,
        rule=f"{count} tiles × {each} = {count * each:,} tokens",
        passes=(_square_pass(count, image, side**2 + 1),),
    )


def idefics3_images(reader: Reader, media: MediaInput) -> Found:
    """Idefics 3 and SmolVLM: a picture is scaled and cut into squares, and the whole joins them."""
    vision = reader.section("vision_config")
    image, side = reader.integer(vision, "image_size"), _side(reader, vision)
    factor = reader.integer(reader.config, "scale_factor")
    owner = "Idefics3ImageProcessor"
    longest = reader.processor("image", "size.longest_edge", default=4 * 364, owner=owner)
    tile = reader.processor("image", "max_image_size.longest_edge", default=364, owner=owner)
    tiles = 1
    if reader.switch("image", "do_image_splitting", default=True, owner=owner):
        tiles += split_by_side(sized(media, "pictures"), longest=min(longest, 4096), tile=tile)
    each = math.ceil(side**2 / factor**2)
    count = media.images * tiles
    return Found(
        tokens=count * each,
        rule=f"{media.pictures} × {tiles} tiles × {each} = {count * each:,} tokens",
        passes=(_square_pass(count, image, side**2),),
    )


def mllama_images(reader: Reader, media: MediaInput) -> Found:
    """Llama 3.2 Vision: nothing in the context; cross-attention sees all tiles of every picture.

    A picture is filled up to four tiles of (560 / 14)² + 1 = 1,601 positions: 6,404
    (models/mllama/image_processing_mllama.py: pad_batches_and_tiles).
    """
    vision = reader.section("vision_config")
    image, side = reader.integer(vision, "image_size"), _side(reader, vision)
    tiles = reader.processor("image", "max_image_tiles", default=4, owner="MllamaImageProcessor")
    positions = side**2 + 1
    total = media.images * tiles * positions
    return Found(
        tokens=0,
        encoder_tokens=total,
        rule=f"{media.pictures} × {tiles} tiles × {positions:,} = {total:,} positions for "
        "cross-attention, none in the context",
        passes=(replace(_square_pass(media.images * tiles, image, positions), together=tiles),),
    )
