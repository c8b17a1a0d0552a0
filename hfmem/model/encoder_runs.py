"""Encoders whose length the model or its processor fixes: they run whatever is said.

Whisper hears 30 seconds, filled up; a reader of pictures sees one picture, resized to what its
encoder takes or cut into as many patches as its processor gives. ``--ctx`` is the decoder's alone
there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.model.architectures import Decoder
from hfmem.model.config import Config, class_name
from hfmem.model.forward import MAX_SIDE, picture_positions, sides
from hfmem.model.layers import CacheKind, CrossAttention
from hfmem.model.media import Documents, EncoderPass, Reader, TowerPass
from hfmem.model.reader_towers import reader_pass
from hfmem.model.vision_towers import encoder_pass


class EncoderRun(Struct, frozen=True, kw_only=True):
    """One pass of such an encoder over what one sequence brings."""

    tokens: int
    """What cross-attention sees of it."""
    fixed: bool
    """False where the processor's setting is a default that a call may change."""
    tower: TowerPass
    output: int
    """Values that the encoder gives for it."""
    because: str
    """Where the number was read."""


Rule = Callable[[Config, Documents], EncoderRun | None]


def encoder_run(config: Config, documents: Documents) -> EncoderRun | None:
    """The pass that every sequence takes; None where the encoder's length is the question's.

    Pix2Struct: 2,048 patches, padded to that number; PP-FormulaNet of 768 pixels: 48 × 48 patches,
    halved twice, 144. Raises MissingKeyError and InvalidValueError where a size is missing or
    nonsense.
    """
    rule = _RULES.get(config.model_type or "")
    return None if rule is None else rule(config, documents)


def with_encoder(
    config: Config, decoder: Decoder, documents: Documents
) -> tuple[Decoder, tuple[EncoderPass, ...], tuple[Note, ...]]:
    """The decoder with what its cross-attention sees, the passes that every sequence takes, and a
    note of one whose code is not described.

    Raises MissingKeyError and InvalidValueError.
    """
    run = encoder_run(config, documents)
    if run is None:
        return decoder, (), ()
    section = config.section(run.tower.section)
    found = None if section is None else reader_pass(section, run.tower)
    found = found or encoder_pass(config, run.tower)
    passes = () if found is None else (replace(found, output=run.output),)
    return _with_length(decoder, run), passes, () if passes else (_undescribed(config, run),)


def _with_length(decoder: Decoder, run: EncoderRun) -> Decoder:
    told = Note(
        code="encoder_length",
        message=f"The encoder gives {run.tokens:,} positions unless a call asks otherwise "
        f"({run.because}); --encoder-ctx gives another number.",
    )
    return replace(
        decoder,
        layers=tuple(tuple(_seeing(kind, run) for kind in layer) for layer in decoder.layers),
        notes=decoder.notes if run.fixed else (*decoder.notes, told),
    )


def of_length(found: EncoderPass, *, tokens: int, usual: int) -> EncoderPass:
    """The same pass where it gives ``tokens`` instead of the ``usual`` number."""

    def scaled(count: int, power: int = 1) -> int:
        above: int = tokens**power
        below: int = usual**power
        return -(-count * above // below)

    return replace(
        found,
        positions=scaled(found.positions),
        values=scaled(found.values),
        output=scaled(found.output),
        shared_mask_pairs=scaled(found.shared_mask_pairs),
        bool_mask_pairs=scaled(found.bool_mask_pairs, 2),
    )


def _undescribed(config: Config, run: EncoderRun) -> Note:
    section = config.section(run.tower.section) or config
    return Note(
        code="encoder_unknown",
        message=f"What the encoder {section.type_shown()} holds while it runs is not known and not "
        "in the total: its layers' tensors are not described.",
    )


def _seeing(kind: CacheKind, run: EncoderRun) -> CacheKind:
    if not isinstance(kind, CrossAttention) or kind.source_tokens is not None:
        return kind
    if run.fixed:
        return replace(kind, source_tokens=run.tokens)
    return replace(kind, usual_tokens=run.tokens)


def _whisper(config: Config, _documents: Documents) -> EncoderRun:
    """One window of 30 seconds: 3,000 mel frames, halved by the second convolution."""
    positions = config.integer("max_source_positions", low=1)
    return EncoderRun(
        tokens=positions,
        fixed=True,
        tower=TowerPass(
            section="audio_config",
            kind="audio",
            items=1,
            positions=positions,
            values=2 * positions * config.integer("num_mel_bins", low=1),
        ),
        output=positions * config.integer("hidden_size", low=1),
        because="config.json: max_source_positions",
    )


def _pix2struct(config: Config, documents: Documents) -> EncoderRun:
    """Patches of the picture's own shape, filled up to ``max_patches``, each with its row and
    column (models/pix2struct/image_processing_pix2struct.py: extract_flattened_patches)."""
    reader = Reader(config=config, documents=documents)
    patches = reader.processor(
        "image", "max_patches", default=2048, owner="Pix2StructImageProcessor"
    )
    section = reader.section("vision_config")
    width = section.integer("patch_embed_hidden_size", low=1)
    return EncoderRun(
        tokens=patches,
        fixed=False,
        tower=_picture("vision_config", positions=patches, values=patches * (width + 2)),
        output=patches * section.integer("hidden_size", low=1),
        because="; ".join(reader.said),
    )


def _formulanet(config: Config, documents: Documents) -> EncoderRun:
    """Patches of a picture of the one size that is taken, halved twice by convolutions
    (models/pp_formulanet/modeling_pp_formulanet.py: PPFormulaNetMultiModalProjector)."""
    section = Reader(config=config, documents=documents).section("vision_config")
    (tall, wide), (high, broad) = sides(section, "image_size"), sides(section, "patch_size")
    rows, columns = tall // high, wide // broad
    tokens = _halved(rows, times=2) * _halved(columns, times=2)
    before = rows * columns * section.integer("post_conv_in_channels", low=1)
    return EncoderRun(
        tokens=tokens,
        fixed=True,
        tower=_picture("vision_config", positions=rows * columns, values=3 * tall * wide),
        output=before + tokens * section.integer("decoder_hidden_size", low=1),
        because="config.json: vision_config",
    )


def _captions(config: Config, documents: Documents) -> EncoderRun | None:
    """BLIP's text attends to the picture; in its other classes to a question of any length."""
    if class_name(config) not in (None, "BlipForConditionalGeneration"):
        return None
    section = Reader(config=config, documents=documents).section("vision_config")
    (tall, wide), (high, broad) = sides(section, "image_size"), sides(section, "patch_size")
    positions = (tall // high) * (wide // broad) + 1
    return EncoderRun(
        tokens=positions,
        fixed=True,
        tower=_picture("vision_config", positions=positions, values=3 * tall * wide),
        output=positions * section.integer("hidden_size", low=1),
        because="config.json: vision_config",
    )


def _pictures(config: Config, documents: Documents) -> EncoderRun | None:
    """TrOCR, Donut and their kin: any encoder of pictures before any decoder.

    trocr-base: (384 / 16)² patches and a class token, 577. Donut: 2,560 × 1,920 pixels in patches
    of 4, halved three times, 4,800.
    """
    section = config.section("encoder")
    if section is None:
        return None
    if section.model_type in _MERGING:
        return _merged(config, section, documents)
    positions = picture_positions(section)
    if positions is None:
        return None
    tall, wide = sides(section, "image_size")
    return EncoderRun(
        tokens=positions,
        fixed=True,
        tower=_picture("encoder", positions=positions, values=3 * tall * wide),
        output=positions * section.integer("hidden_size", low=1),
        because="config.json: encoder",
    )


def _merged(config: Config, section: Config, documents: Documents) -> EncoderRun:
    """Swin takes pictures of any size, fills them up and merges 2 × 2 patches between its stages
    (models/donut/modeling_donut_swin.py: DonutSwinPatchMerging)."""
    reader = Reader(config=config, documents=documents)
    stated = _stated_size(reader)
    tall, wide = stated[1] if stated else sides(section, "image_size")
    high, broad = sides(section, "patch_size")
    depths = section.integer_list("depths") or (2, 2, 6, 2)
    if len(depths) > _MAX_STAGES:
        raise section.invalid("depths", depths, f"a list of at most {_MAX_STAGES} items")
    times = len(depths) - 1
    rows, columns = -(-tall // high), -(-wide // broad)
    tokens = _halved(rows, times=times) * _halved(columns, times=times)
    return EncoderRun(
        tokens=tokens,
        fixed=False,
        tower=_picture("encoder", positions=rows * columns, values=3 * tall * wide),
        output=tokens * 2**times * section.integer("embed_dim", low=1),
        because=f"{stated[0] if stated else 'config.json: encoder: image_size'}, {tall} × {wide}",
    )


def _stated_size(reader: Reader) -> tuple[str, tuple[int, int]] | None:
    """The picture's size that a processor's file states, and where: an object, or Donut's first
    files' width and height; None where it states none."""
    for where, values in reader.settings("image"):
        found = Config(values=values, model_type=None, where=where)
        size = found.section("size")
        if size is not None and size.has("height") and size.has("width"):
            asked = [size.integer(key, low=1, high=MAX_SIDE) for key in ("height", "width")]
            return f"{where}: size", (asked[0], asked[1])
        if isinstance(values.get("size"), list) and found.list("size"):
            return f"{where}: size", sides(found, "size")
    return None


def _picture(section: str, *, positions: int, values: int) -> TowerPass:
    return TowerPass(section=section, kind="image", items=1, positions=positions, values=values)


def _halved(count: int, *, times: int) -> int:
    """Rounded up each time, which is rounded up once."""
    below: int = 2**times
    return -(-count // below)


_MAX_STAGES = 17
"""Each halves the rows and columns of pixels, of which MAX_SIDE are 2 ** 16."""
_MERGING = frozenset({"donut-swin", "swin"})
_RULES: Mapping[str, Rule] = {
    "whisper": _whisper,
    "pix2struct": _pix2struct,
    "pp_formulanet": _formulanet,
    "blip": _captions,
    "vision-encoder-decoder": _pictures,
}
