"""Token rules of pictures that are cut into tiles, and of those that give a fixed number.

Read from transformers 5.23; MiniCPM-V's before 4.6 from its own code.
"""

from __future__ import annotations

import math
from typing import Final

from hfmem.model.media import Found, MediaInput, Reader, TowerPass, sized
from hfmem.model.picture_grids import (
    Size,
    canvas_by_ratio,
    canvas_of_least_scaling,
    ratio_grid,
    roomiest_canvas,
    sliced_grid,
    smart_resize,
)

_MOST_TILES: Final = 1000


def aya_images(reader: Reader, media: MediaInput) -> Found:
    """Aya Vision: tiles of 364 and a thumbnail, (364 / 28)² = 169 tokens each.

    models/aya_vision/processing_aya_vision.py: _get_num_multimodal_tokens; the tiles are
    GotOcr2ImageProcessor's.
    """
    vision = reader.section("vision_config")
    image, patch = reader.integer(vision, "image_size"), reader.integer(vision, "patch_size")
    factor = reader.integer(reader.config, "downsample_factor")
    each = (image // (patch * factor)) ** 2
    owner = "GotOcr2ImageProcessor"
    cut = reader.switch("image", "crop_to_patches", default=True, owner="AyaVisionProcessor")
    most = reader.processor("image", "max_patches", default=12, owner=owner)
    tiles = 1
    if cut and most > 1:
        size = sized(media, "pictures")
        tiles = canvas_by_ratio(size, tile=(image, image), least=1, most=min(most, _MOST_TILES))
    return _tiled(media, tiles + (tiles > 1), each, _square(image, (image // patch) ** 2))


def cohere2_images(reader: Reader, media: MediaInput) -> Found:
    """Command A Vision: tiles of 512 and a thumbnail, 16 × 16 tokens and a row break each.

    models/cohere2_vision/processing_cohere2_vision.py: _get_num_multimodal_tokens.
    """
    owner = "Cohere2VisionImageProcessor"
    tile = reader.processor("image", "size.height", default=512, owner=owner)
    side = reader.processor("image", "patch_size", default=16, owner=owner)
    most = reader.processor("image", "max_patches", default=12, owner=owner)
    tiles = 1
    if reader.switch("image", "crop_to_patches", default=True, owner=owner) and most > 1:
        size = sized(media, "pictures")
        tiles = canvas_of_least_scaling(size, tile=tile, most=min(most, _MOST_TILES))
    vision = reader.section("vision_config")
    patch = reader.integer(vision, "patch_size")
    return _tiled(media, tiles + (tiles > 1), side**2 + 1, _square(tile, (tile // patch) ** 2))


def minicpm_images(reader: Reader, media: MediaInput) -> Found:
    """MiniCPM-V 2.5 to 4.5 and MiniCPM-o: 64 queries for the whole and for every slice
    (its image_processing_minicpmv.py: get_slice_image_placeholder)."""
    owner = "MiniCPMVImageProcessor"
    each = reader.config.integer_or_none("query_num", low=1) or 64
    reader.said.append(f"{reader.config.where}: query_num = {each}")
    grid = _minicpm_grid(reader, media, owner=owner)
    slices = 1 + (grid[0] * grid[1] if grid else 0)
    side = reader.processor("image", "scale_resolution", default=448, owner=owner)
    patch = reader.processor("image", "patch_size", default=14, owner=owner)
    return _tiled(media, slices, each, _square(side, (side // patch) ** 2))


def minicpm46_images(reader: Reader, media: MediaInput) -> Found:
    """MiniCPM-V 4.6 and 4.7: the whole and every slice keep their shape; 16 patches are a token
    (models/minicpmv4_6/processing_minicpmv4_6.py: replace_image_token)."""
    owner = "MiniCPMV4_6ImageProcessor"
    patch = reader.processor("image", "patch_size", default=14, owner=owner)
    side = reader.processor("image", "scale_resolution", default=448, owner=owner)
    fine = any(values.get("downsample_mode") == "4x" for _, values in reader.settings("image"))
    merge = 2 if fine else 4
    reader.said.append(f"downsample_mode: {merge**2} patches are a token")
    size = sized(media, "pictures")
    grid = _minicpm_grid(reader, media, owner=owner)
    whole = _minicpm_scaled(size, side=side, step=patch * merge, upscale=grid is None)
    total = _cells(whole, patch * merge)
    rule = f"{total}"
    if grid is not None:
        rows, columns = grid
        # get_refine_size: the picture in whole slices, each scaled by itself.
        part = (_rounded(size[0], rows) / rows, _rounded(size[1], columns) / columns)
        slice_size = _minicpm_scaled(part, side=side, step=patch * merge, upscale=True)
        each = _cells(slice_size, patch * merge)
        total += rows * columns * each
        rule += f" + {rows} × {columns} × {each}"
    tokens = media.images * total
    return Found(tokens=tokens, rule=f"{media.pictures} × ({rule}) = {tokens:,} tokens")


def _minicpm_grid(reader: Reader, media: MediaInput, *, owner: str) -> Size | None:
    side = reader.processor("image", "scale_resolution", default=448, owner=owner)
    most = reader.processor("image", "max_slice_nums", default=9, owner=owner)
    if not reader.switch("image", "slice_mode", default=True, owner=owner):
        return None
    return sliced_grid(sized(media, "pictures"), side=side, most=min(most, _MOST_TILES))


def _minicpm_scaled(size: tuple[float, float], *, side: int, step: int, upscale: bool) -> Size:
    """models/minicpmv4_6/image_processing_minicpmv4_6.py: find_best_resize."""
    height, width = size
    if upscale or height * width > side**2:
        ratio = width / height
        height = int(side / math.sqrt(ratio))
        width = int(height * ratio)
    return _rounded(height, step), _rounded(width, step)


def _rounded(length: float, step: int) -> int:
    return max(round(length / step) * step, step)


def _cells(size: Size, cell: int) -> int:
    return (size[0] // cell) * (size[1] // cell)


def lfm2_images(reader: Reader, media: MediaInput) -> Found:
    """LFM2-VL: a picture of at most 256 tokens; a larger one in tiles of 512 and a thumbnail.

    models/lfm2_vl/image_processing_lfm2_vl.py: resize_and_split; processing_lfm2_vl.py.
    """
    owner = "Lfm2VlImageProcessor"
    patch, factor, tile, least, most, most_tiles = (
        reader.processor("image", key, default=value, owner=owner)
        for key, value in (
            ("encoder_patch_size", 16),
            ("downsample_factor", 2),
            ("tile_size", 512),
            ("min_image_tokens", 64),
            ("max_image_tokens", 256),
            ("max_tiles", 10),
        )
    )
    cell = patch * factor
    height, width = sized(media, "pictures")
    tall, wide = smart_resize(
        (height, width), factor=cell, least=least * cell**2, most=most * cell**2
    )
    whole = math.ceil(tall // patch / factor) * math.ceil(wide // patch / factor)
    area = max(patch, round(height / cell) * cell) * max(patch, round(width / cell) * cell)
    # max_pixels_tolerance is 2.0 in every published file and in the class.
    large = area > 2 * most * cell**2
    split = reader.switch("image", "do_image_splitting", default=True, owner=owner)
    tiles = 0
    if large and split:
        rows, columns = ratio_grid((height, width), tile=tile, least=2, most=min(most_tiles, 100))
        tiles = rows * columns
    thumbnail = reader.switch("image", "use_thumbnail", default=True, owner=owner)
    each = math.ceil(tile // patch / factor) ** 2
    one = tiles * each + (whole if thumbnail else 0) if tiles else whole
    total = media.images * one
    rule = f"{tiles} tiles × {each} + {whole if thumbnail else 0}" if tiles else f"{whole}"
    run = TowerPass(
        section="vision_config",
        kind="image",
        items=media.images * (tiles + 1),
        positions=(tile // patch) ** 2,
        values=3 * tile**2,
    )
    return Found(
        tokens=total,
        rule=f"{media.pictures} × ({rule}) = {total:,} tokens",
        passes=(run,),
    )


def aria_images(reader: Reader, media: MediaInput) -> Found:
    """Aria: 256 tokens a picture of 980, 128 of 490 (models/aria/processing_aria.py:
    size_conversion); pictures are split where the processor says so, which no default does."""
    side = reader.processor("image", "max_image_size", default=980, owner="AriaImageProcessor")
    each = 128 if side == 490 else 256
    return _tiled(media, 1, each, None)


def deepseek_ocr_images(reader: Reader, media: MediaInput) -> Found:
    """DeepSeek-OCR 2: 256 for the whole picture of 1,024, 144 for each of two to six tiles of 768
    where it is larger than one, and a separator.

    models/deepseek_ocr2/processing_deepseek_ocr2.py: replace_image_token.
    """
    owner = "DeepseekOcr2ImageProcessor"
    base = reader.processor("image", "size.height", default=1024, owner=owner)
    tile = reader.processor("image", "tile_size", default=768, owner=owner)
    least = reader.processor("image", "min_patches", default=2, owner=owner)
    most = reader.processor("image", "max_patches", default=6, owner=owner)
    cell = 16 * 4
    size = sized(media, "pictures")
    tiles = 0
    cut = reader.switch("image", "crop_to_patches", default=True, owner=owner)
    if cut and max(size) > tile:
        tiles = canvas_by_ratio(size, tile=(tile, tile), least=least, most=min(most, _MOST_TILES))
    whole, each = math.ceil(base / cell) ** 2, math.ceil(tile / cell) ** 2
    one = whole + tiles * each + 1
    total = media.images * one
    return Found(
        tokens=total,
        rule=f"{media.pictures} × ({whole} + {tiles} tiles × {each} + 1) = {total:,} tokens",
    )


def perception_images(reader: Reader, media: MediaInput) -> Found:
    """Perception LM: tiles of 448 and the whole, (448 / 14 / 2)² = 256 tokens each
    (models/perception_lm/processing_perception_lm.py: _get_num_multimodal_tokens)."""
    owner = "PerceptionLMImageProcessor"
    tile = reader.processor("image", "tile_size", default=448, owner=owner)
    most = reader.processor("image", "max_num_tiles", default=36, owner=owner)
    config = reader.config
    # The processor's own default is 2, the configuration class's 1: released models state 2.
    stated = config.has("projector_pooling_ratio")
    pool = config.integer("projector_pooling_ratio", low=1) if stated else 2
    vision = reader.section("vision_config")
    patch = vision.integer_or_none("patch_size", low=1) or 14
    reader.said.append(f"patches of {patch}, pooled {pool} × {pool}")
    tiles = roomiest_canvas(sized(media, "pictures"), tile=tile, most=min(most, 200))
    return _tiled(media, tiles + 1, (tile // patch // pool) ** 2, None)


def ovis2_images(reader: Reader, media: MediaInput) -> Found:
    """Ovis 2: one picture is one tile unless it is cropped: (384 / 14 / 2)² = 169 tokens
    (models/ovis2/processing_ovis2.py: image_seq_length)."""
    vision = reader.section("vision_config")
    image, patch = reader.integer(vision, "image_size"), reader.integer(vision, "patch_size")
    stride = vision.integer_or_none("hidden_stride", low=1) or 2
    return _tiled(media, 1, (image // patch // stride) ** 2, _square(image, (image // patch) ** 2))


def queries_images(reader: Reader, media: MediaInput) -> Found:
    """BLIP-2 and InstructBLIP: the queries of their Q-Former, 32 a picture
    (models/blip_2/processing_blip_2.py: num_query_tokens)."""
    return _tiled(media, 1, reader.integer(reader.config, "num_query_tokens"), _vit(reader))


def kosmos2_images(reader: Reader, media: MediaInput) -> Found:
    """Kosmos-2: 64 latent queries a picture (models/kosmos2/modeling_kosmos2.py)."""
    return _tiled(media, 1, reader.integer(reader.config, "latent_query_num"), _vit(reader))


def idefics2_images(reader: Reader, media: MediaInput) -> Found:
    """Idefics 2: 64 latents a picture, and for each quarter where pictures are split
    (models/idefics2/processing_idefics2.py: image_seq_len)."""
    perceiver = reader.section("perceiver_config")
    each = reader.integer(perceiver, "resampler_n_latents")
    split = reader.switch(
        "image", "do_image_splitting", default=False, owner="Idefics2ImageProcessor"
    )
    return _tiled(media, 5 if split else 1, each, None)


def chameleon_images(reader: Reader, media: MediaInput) -> Found:
    """Chameleon: 1,024 codes a picture (models/chameleon/processing_chameleon.py)."""
    each = reader.processor("image", "image_seq_length", default=1024, owner="ChameleonProcessor")
    return _tiled(media, 1, each, None)


def got_ocr_images(reader: Reader, media: MediaInput) -> Found:
    """GOT-OCR 2: 256 tokens a picture (models/got_ocr2/processing_got_ocr2.py)."""
    owner = "GotOcr2Processor"
    each = reader.processor("image", "num_image_tokens", default=256, owner=owner)
    return _tiled(media, 1, each, None)


def siglip_images(reader: Reader, media: MediaInput) -> Found:
    """Janus and DeepSeek-VL: every patch of a square of 384 in patches of 16, 576 tokens
    (models/janus/processing_janus.py: num_image_tokens)."""
    run = _vit(reader)
    return _tiled(media, 1, run.positions, run)


def _vit(reader: Reader) -> TowerPass:
    vision = reader.section("vision_config")
    image, patch = reader.integer(vision, "image_size"), reader.integer(vision, "patch_size")
    return _square(image, (image // patch) ** 2)


def _square(image: int, positions: int) -> TowerPass:
    return TowerPass(
        section="vision_config",
        kind="image",
        items=1,
        positions=positions,
        values=3 * image**2,
    )


def _tiled(media: MediaInput, tiles: int, each: int, run: TowerPass | None) -> Found:
    count = media.images * tiles
    total = count * each
    passes: tuple[TowerPass, ...] = ()
    if run is not None:
        passes = (
            TowerPass(
                section=run.section,
                kind=run.kind,
                items=count,
                positions=run.positions,
                values=run.values,
            ),
        )
    shown = f"{tiles} tiles × {each:,}" if tiles > 1 else f"{each:,}"
    return Found(
        tokens=total,
        rule=f"{media.pictures} × {shown} = {total:,} tokens",
        passes=passes,
    )
