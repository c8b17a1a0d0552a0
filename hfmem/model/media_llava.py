"""Pictures and frames as LLaVA's families lay them out: a grid of patches, pooled, with newlines.

LLaVA-NeXT's own code is llava/model/llava_arch.py of LLaVA-VL/LLaVA-NeXT; the classes of
transformers 5.23 are processing_llava_next.py, processing_llava_next_video.py and
processing_llava_onevision.py.
"""

from __future__ import annotations

import math
import re
from typing import Final

from msgspec import Struct

from hfmem.errors import InvalidValueError, MissingKeyError
from hfmem.model.config import Config
from hfmem.model.media import Found, MediaInput, Reader, TowerPass, sized
from hfmem.model.picture_grids import Size, best_resolution, pinpoints, unpadded

_TOWER_NAME = re.compile(r"patch(?P<patch>\d{1,3})(?:-(?P<image>\d{2,4}))?$")
_TILES_KEPT: Final = 1.1
"""A picture is scaled down once its side is this much over the limit of tiles."""


class _Tower(Struct, frozen=True, kw_only=True):
    section: str
    image: int
    """Side of a square picture in pixels."""
    side: int
    """Patches on it."""

    def run(self, items: int) -> TowerPass:
        return TowerPass(
            section=self.section,
            kind="image",
            items=items,
            positions=self.side**2,
            values=3 * self.image**2,
        )


def _named_tower(reader: Reader) -> _Tower:
    """From the name of the tower that LLaVA's flat configuration gives."""
    config = reader.config
    name = config.text("mm_vision_tower")
    found = _TOWER_NAME.search(name or "")
    if name is None or found is None:
        raise MissingKeyError(
            f"{config.where}: mm_vision_tower does not name the size of its patches.",
            hint="Known are names such as google/siglip-so400m-patch14-384.",
        )
    reader.said.append(f'{config.where}: mm_vision_tower = "{name[:80]}"')
    image, patch = int(found["image"] or 224), int(found["patch"])
    if not 0 < patch <= image:
        raise config.invalid("mm_vision_tower", name, "the name of a tower")
    return _Tower(section="mm_vision_tower", image=image, side=image // patch)


def _section_tower(reader: Reader) -> _Tower:
    vision = reader.section("vision_config")
    image, patch = reader.integer(vision, "image_size"), reader.integer(vision, "patch_size")
    if patch > image:
        raise vision.invalid("patch_size", patch, "smaller than the image")
    return _Tower(section="vision_config", image=image, side=image // patch)


def llava_next_frames(reader: Reader, media: MediaInput) -> Found:
    """LLaVA-Video and LLaVA-OneVision in LLaVA-NeXT's code: a frame is pooled, then newlines come.

    27 × 27 patches of SigLIP, stride 2: 14 × 14 pooled by interpolation, 13 × 13 by average or
    maximum; with a newline a row 14 × 15 = 210 or 13 × 14 = 182 a frame (get_2dPool,
    add_token_per_grid).
    """
    config, tower = reader.config, _named_tower(reader)
    mode = reader.text(
        config, "mm_spatial_pool_mode", default="bilinear", because="as LLaVA-Video ships"
    )
    stride = config.integer_or_none("mm_spatial_pool_stride", low=1)
    reader.said.append(
        f"{config.where} has no mm_spatial_pool_stride: 2 (the default of get_2dPool)"
        if stride is None
        else f"{config.where}: mm_spatial_pool_stride = {stride}"
    )
    side = _pooled(config, tower.side, mode=mode, stride=stride or 2)
    newline = _newline(reader)
    slow = _with_newlines(side, newline)
    frames = media.frames
    total = frames * slow + (newline == "one_token")
    rule = f"{frames} frames × {_shown(side, newline)} = {total:,} tokens"
    if newline == "grid" and config.flag("add_faster_video"):
        fast_side = _pooled(config, tower.side, mode=mode, stride=2 * (stride or 2))
        every = reader.integer(config, "faster_token_stride")
        kept = -(-frames // every)
        fast = _with_newlines(fast_side, newline)
        total = kept * slow + (frames - kept) * fast + frames
        rule = (
            f"{kept} frames × {slow} and {frames - kept} × {fast} tokens, and one a frame: "
            f"{total:,} tokens"
        )
    pooled = f"pooled {tower.side} × {tower.side} → {side} × {side} ({mode})"
    return Found(tokens=total, rule=f"{rule}; {pooled}", passes=(tower.run(frames),))


def _pooled(config: Config, side: int, *, mode: str, stride: int) -> int:
    match mode:
        case "bilinear":
            return -(-side // stride)
        case "average" | "max":
            return max(1, side // stride)
        case _:
            raise config.invalid("mm_spatial_pool_mode", mode, "average, max or bilinear")


def _newline(reader: Reader) -> str:
    """Where newlines go; nowhere unless patches are merged in space."""
    config = reader.config
    merge = reader.text(
        config, "mm_patch_merge_type", default="flat", because="the default of llava_arch.py"
    )
    if not merge.startswith("spatial"):
        return "no_token"
    position = reader.text(
        config, "mm_newline_position", default="one_token", because="the default of llava_arch.py"
    )
    if position not in ("grid", "frame", "one_token", "no_token"):
        raise config.invalid("mm_newline_position", position, "grid, frame, one_token or no_token")
    return "no_token" if position == "one_token" and "unpad" not in merge else position


def _with_newlines(side: int, newline: str) -> int:
    return side * side + {"grid": side, "frame": 1}.get(newline, 0)


def _shown(side: int, newline: str) -> str:
    return f"{side} × {side + 1}" if newline == "grid" else f"{_with_newlines(side, newline)}"


def llava_next_images(reader: Reader, media: MediaInput) -> Found:
    """Pictures in LLaVA-NeXT's code: one tile, or a base and a grid without its padding."""
    config, tower = reader.config, _named_tower(reader)
    aspect = reader.text(
        config, "image_aspect_ratio", default="square", because="the default of process_images"
    )
    merge = reader.text(
        config, "mm_patch_merge_type", default="flat", because="the default of llava_arch.py"
    )
    limit = _tile_limit(aspect)
    if aspect.startswith("anyres"):
        if merge != "spatial_unpad":
            raise InvalidValueError(
                f"{config.where}: mm_patch_merge_type {merge!r:.40} with {aspect!r:.40} is not "
                "known.",
                hint="Known is spatial_unpad.",
            )
        return _anyres(reader, media, tower, points=_points(config), limit=limit)
    each = tower.side**2 + ("unpad" in merge)
    return _fixed(media, each, tower)


def _tile_limit(aspect: str) -> int | None:
    found = re.fullmatch(r"anyres_max_(\d{1,4})", aspect)
    return int(found[1]) if found and int(found[1]) else None


def _points(config: Config) -> tuple[Size, ...]:
    values = config.list("image_grid_pinpoints")
    found = pinpoints(values) if values else ()
    if not found:
        raise MissingKeyError(
            f"{config.where} has no list image_grid_pinpoints.",
            hint="Into which tiles a picture is cut depends on it.",
        )
    return found


def _anyres(
    reader: Reader,
    media: MediaInput,
    tower: _Tower,
    *,
    points: tuple[Size, ...],
    limit: int | None,
) -> Found:
    size = sized(media, "pictures")
    tall, wide = best_resolution(size, points)
    tiles = (tall // tower.image, wide // tower.image)
    reader.said.append(f"image_grid_pinpoints: {wide} × {tall} of {len(points)}")
    if not all(tiles):
        raise InvalidValueError(
            f"image_grid_pinpoints has {wide} × {tall}, less than a tile of {tower.image}.",
            hint="The configuration is damaged.",
        )
    rows, columns = unpadded(size, (tiles[0] * tower.side, tiles[1] * tower.side))
    if limit is not None:
        over = math.sqrt(rows * columns / (limit * tower.side**2))
        if over > _TILES_KEPT:
            rows, columns = int(rows // over), int(columns // over)
    each = tower.side**2 + rows * (columns + 1)
    count = 1 + tiles[0] * tiles[1]
    return Found(
        tokens=media.images * each,
        rule=f"{media.pictures} × ({tower.side}² for the whole and {rows} × {columns + 1} "
        f"for {count - 1} tiles) = {media.images * each:,} tokens",
        passes=(tower.run(media.images * count),),
    )


def _fixed(media: MediaInput, each: int, tower: _Tower) -> Found:
    return Found(
        tokens=media.images * each,
        rule=f"{media.pictures} × {each} = {media.images * each:,} tokens",
        passes=(tower.run(media.images),),
    )


def llava_images(reader: Reader, media: MediaInput) -> Found:
    """LLaVA-1.5: every patch of one square picture; the class token only where it is asked for."""
    tower = _section_tower(reader)
    return _fixed(media, tower.side**2 + _class_token(reader), tower)


def _class_token(reader: Reader) -> int:
    """1 where the encoder has a class token and the features keep it."""
    vision = reader.section("vision_config")
    strategy = reader.config.text("vision_feature_select_strategy") or "default"
    return int(strategy == "full" and "clip" in (vision.model_type or ""))


def hub_anyres_images(reader: Reader, media: MediaInput) -> Found:
    """LLaVA-NeXT of transformers: 576 for the whole, and a grid without its padding."""
    tower = _section_tower(reader)
    shapes = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
    points = _hub_points(reader, shapes=shapes, tower=tower)
    return _anyres(reader, media, tower, points=points, limit=None)


def onevision_images(reader: Reader, media: MediaInput) -> Found:
    """LLaVA-OneVision of transformers: one picture is cut into tiles, several are not."""
    tower = _section_tower(reader)
    if media.images > 1:
        reader.said.append("several pictures are not cut into tiles")
        return _fixed(media, tower.side**2 + 1, tower)
    aspect = reader.config.text("vision_aspect_ratio") or "anyres_max_9"
    reader.said.append(f'config.json: vision_aspect_ratio = "{aspect[:40]}"')
    shapes = tuple((tall, wide) for tall in range(1, 7) for wide in range(1, 7))
    points = _hub_points(reader, shapes=shapes, tower=tower)
    return _anyres(reader, media, tower, points=points, limit=_tile_limit(aspect))


def onevision_frames(reader: Reader, media: MediaInput) -> Found:
    """LLaVA-OneVision of transformers: 27 × 27 pooled to 14 × 14 a frame, and one newline."""
    tower = _section_tower(reader)
    side = -(-tower.side // 2)
    total = media.frames * side**2 + 1
    return Found(
        tokens=total,
        rule=f"{media.frames} frames × {side} × {side} and a newline = {total:,} tokens",
        passes=(tower.run(media.frames),),
    )


def next_video_frames(reader: Reader, media: MediaInput) -> Found:
    """LLaVA-NeXT-Video of transformers: a quarter of the patches, 144 a frame."""
    tower = _section_tower(reader)
    each = tower.side**2 // 4
    return Found(
        tokens=media.frames * each,
        rule=f"{media.frames} frames × {each} = {media.frames * each:,} tokens",
        passes=(tower.run(media.frames),),
    )


def video_llava_frames(reader: Reader, media: MediaInput) -> Found:
    """Video-LLaVA: every frame is 256 patches and a class token."""
    tower = _section_tower(reader)
    each = tower.side**2 + 1
    return Found(
        tokens=media.frames * each,
        rule=f"{media.frames} frames × {each} = {media.frames * each:,} tokens",
        passes=(tower.run(media.frames),),
    )


def _hub_points(reader: Reader, *, shapes: tuple[Size, ...], tower: _Tower) -> tuple[Size, ...]:
    """The grids of the files; ``shapes`` of tiles are the class's default."""
    for name, values in reader.settings("image"):
        found = values.get("image_grid_pinpoints")
        if isinstance(found, list) and (points := pinpoints(found)):
            reader.said.append(f"{name}: image_grid_pinpoints")
            return points
    stated = reader.config.list("image_grid_pinpoints")
    if stated and (points := pinpoints(stated)):
        reader.said.append(f"{reader.config.where}: image_grid_pinpoints")
        return points
    reader.said.append("image_grid_pinpoints (the class's default)")
    return tuple((tall * tower.image, wide * tower.image) for tall, wide in shapes)
