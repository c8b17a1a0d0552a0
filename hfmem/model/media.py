"""Pictures, film and sound that a prompt brings along, and where their token rule is read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from hfmem.checkpoint.snapshot import Note
from hfmem.errors import InvalidValueError, MissingKeyError, UsageError
from hfmem.model.config import MAX_INTEGER, Config

if TYPE_CHECKING:
    from hfmem.model.tower_layers import TowerLayers

Kind = Literal["image", "video", "audio"]

Documents = Mapping[str, Mapping[str, object]]


class MediaInput(Struct, frozen=True, kw_only=True):
    """What each sequence brings beside its text."""

    images: int = 0
    image_size: tuple[int, int] | None = None
    """Height and width in pixels, of every picture and every frame; None where nobody said it."""
    frames: int = 0
    """Sampled frames of one film."""
    audio_seconds: float = 0
    """Length of one recording."""

    def __bool__(self) -> bool:
        return bool(self.images or self.frames or self.audio_seconds)

    @property
    def pictures(self) -> str:
        """``1 picture``, ``2 pictures``."""
        return f"{self.images:,} picture" + ("" if self.images == 1 else "s")


class TowerPass(Struct, frozen=True, kw_only=True):
    """One pass of an encoder over everything of its kind."""

    section: str
    """Where the encoder's own configuration is: ``vision_config``."""
    kind: Kind
    items: int
    """Tiles, frames or windows that go through together."""
    positions: int
    """Patches or sound positions of one of them."""
    values: int
    """Pixel or mel values of one of them."""
    together: int = 1
    """Items that attend to each other."""


class EncoderPass(Struct, frozen=True, kw_only=True):
    """One pass of an encoder, in elements of one position (``hfmem.model.vision_towers``)."""

    name: str
    positions: int
    """Of everything that goes through together."""
    values: int
    """Pixel or mel values of all of it."""
    hidden: int
    inner: int
    """Of all tensors of the MLP's width together."""
    residents: int
    """Hidden-wide tensors while the MLP runs."""
    kept_states: int = 0
    """Layers' outputs that the caller asked to keep."""
    rotary_elements: int = 0
    """fp32 values of a position while query and keys are rotated; 0 where they are not the peak."""
    rotary_residents: int = 5
    """Hidden-wide tensors in the model's dtype meanwhile."""
    convolved: int = 0
    """Values of a position of the first convolution, in and out; 0 where they are small."""
    convolved_positions: int = 0
    mask_pairs: int = 0
    """Pairs of positions in a mask of the model's dtype."""
    shared_mask_pairs: int = 0
    """Of these in a mask that all sequences of a batch share."""
    bool_mask_pairs: int = 0
    """Pairs of positions in a mask of one byte each."""
    attention_residents: int = 0
    """Hidden-wide tensors while the layer attends; 0 where that is never the peak."""
    attention_copies: int = 0
    """More of them where several sequences run together."""
    scores: int = 0
    """Of all heads over one sequence, where the code spells them out."""
    score_copies: int = 0
    """Tensors of them in the model's dtype."""
    score_bytes: int = 0
    """Bytes of a score in all its tensors that do not follow the model's dtype."""
    output: int = 0
    """Values of one sequence that it gives, held while the decoder runs; 0 where they become
    tokens of the prompt."""
    projected: int = 0
    """Width of what a projector makes of every position; 0 where it is small."""
    projected_beside_states: bool = False
    """The kept states live until the projector is done (transformers' LLaVA classes)."""
    source: str


class Media(Struct, frozen=True, kw_only=True):
    """What the input adds to one sequence."""

    tokens: int
    """On top of the text."""
    rule: str
    """One sentence with the numbers."""
    keys: tuple[str, ...]
    """Every statement that was read, such as ``config.json: mm_spatial_pool_mode = "bilinear"``."""
    source: str
    """The processor code that the rule was read from."""
    encoder_tokens: int = 0
    """What cross-attention sees (Llama 3.2 Vision); not in the context."""
    encoders: tuple[EncoderPass, ...] = ()
    """What runs before the decoder."""
    undescribed: tuple[str, ...] = ()
    """Encoders that run and whose code is not described, by name."""
    layers: tuple[TowerLayers, ...] = ()
    """The encoders as a backward pass sees them."""
    unsaved: tuple[str, ...] = ()
    """Encoders of which it is not described what they keep for it, by name."""

    @property
    def encoders_known(self) -> bool:
        """False where the code of an encoder that runs is not described."""
        return not self.undescribed

    @property
    def notes(self) -> tuple[Note, ...]:
        """The rule with its numbers, and what it does not cover."""
        told = Note(
            code="multimodal_tokens",
            message=f"On top of the context: {self.rule}. Read: {'; '.join(self.keys)}. "
            f"Source: {self.source}.",
        )
        if self.encoders_known:
            return (told,)
        message = (
            f"What {' and '.join(self.undescribed)} holds while it runs is not known and not in "
            "the total: its layers' tensors are not described."
        )
        return (told, Note(code="encoder_unknown", message=message))


class Found(Struct, frozen=True, kw_only=True):
    """What one rule says of one kind of input."""

    tokens: int
    rule: str
    passes: tuple[TowerPass, ...] = ()
    encoder_tokens: int = 0


_FILES: Mapping[Kind, tuple[tuple[str, str | None], ...]] = {
    "image": (
        ("processor_config.json", "image_processor"),
        ("preprocessor_config.json", None),
    ),
    "video": (
        ("processor_config.json", "video_processor"),
        ("video_preprocessor_config.json", None),
        ("preprocessor_config.json", None),
    ),
    "audio": (
        ("processor_config.json", "feature_extractor"),
        ("processor_config.json", "audio_processor"),
        ("preprocessor_config.json", None),
    ),
}
"""Where transformers 5.23 looks for a processor's settings, in order (image_processing_base.py,
video_processing_utils.py: get_video_processor_dict)."""


class Reader(Struct, frozen=True, kw_only=True):
    """Reads a rule's numbers and writes down where each one stands."""

    config: Config
    documents: Documents
    said: list[str] = field(default_factory=list)

    def section(self, name: str) -> Config:
        """A nested section; raises MissingKeyError where there is none."""
        found = self.config.section(name)
        if found is None:
            raise MissingKeyError(
                f"{self.config.where} has no {name}.",
                hint="How many tokens a picture or a sound becomes depends on it.",
            )
        return found

    def integer(self, config: Config, key: str) -> int:
        """A positive number of a configuration. Raises MissingKeyError, InvalidValueError.

        InternVL writes the side of a square twice, ``[448, 448]``.
        """
        sides = config.value(key)
        square = isinstance(sides, list | tuple) and len(sides) == 2 and sides[0] == sides[1]
        values = config.integer_list(key, low=1) if square else None
        found = values[0] if values else config.integer(key, low=1)
        self._say(config.where, key, str(found), stated=config.has(key))
        return found

    def text(self, config: Config, key: str, *, default: str, because: str) -> str:
        """A word of a configuration, or what the code takes where it is missing."""
        found = config.text(key)
        if found is None:
            self.said.append(f"{config.where} has no {key}: {default} ({because})")
            return default
        self._say(config.where, key, f'"{found[:60]}"', stated=True)
        return found

    def settings(self, kind: Kind) -> Iterator[tuple[str, Mapping[str, object]]]:
        """The objects that may hold a processor's settings, in order, each with its place."""
        for name, part in _FILES[kind]:
            document = self.documents.get(name)
            values = document if part is None or document is None else document.get(part)
            if isinstance(values, Mapping):
                yield (name if part is None else f"{name}: {part}"), values

    def processor(
        self, kind: Kind, *paths: str, default: int, owner: str, published: int | None = None
    ) -> int:
        """The first of ``paths`` that a processor's file states; else its class's default.

        A path is a key, or a key in an object: ``size.longest_edge``. ``published`` is what the
        family's own repositories state, for a configuration that comes without such a file. Raises
        InvalidValueError for what is no positive whole number.
        """
        for where, values in self.settings(kind):
            for path in paths:
                found = _at(values, path)
                if found is None:
                    continue
                if type(found) is not int or not 1 <= found <= MAX_INTEGER:
                    raise InvalidValueError(
                        f"{where}: {path} is {_short(found)}, not a whole number above 0.",
                        hint="The file is damaged or not of this model.",
                    )
                self._say(where, path, f"{found:,}", stated=True)
                return found
        if published is not None and not any(self.settings(kind)):
            self.said.append(
                f"{paths[-1]} = {published:,} (as the family's repositories state; there is no "
                "preprocessor_config.json here)"
            )
            return published
        self._say(owner, paths[-1], f"{default:,}", stated=False)
        return default

    def switch(self, kind: Kind, key: str, *, default: bool, owner: str) -> bool:
        """A yes or no of a processor's file, else of its class."""
        for where, values in self.settings(kind):
            found = values.get(key)
            if isinstance(found, bool):
                self._say(where, key, str(found).lower(), stated=True)
                return found
        self._say(owner, key, str(default).lower(), stated=False)
        return default

    def _say(self, where: str, key: str, value: str, *, stated: bool) -> None:
        said = f"{where}: {key} = {value}" + ("" if stated else " (the class's default)")
        if said not in self.said:
            self.said.append(said)


def _at(values: Mapping[str, object], path: str) -> object | None:
    """``{"size": {"longest_edge": 9}}`` at ``size.longest_edge``; an old file's plain number
    answers for its ``size``."""
    found: object = values
    for step in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found if not isinstance(found, Mapping) else None


def _short(found: object) -> str:
    return (
        f"a number of {found.bit_length()} bits"
        if type(found) is int and abs(found) > 10**18
        else ascii(found)[:60]
    )


def sized(media: MediaInput, what: str) -> tuple[int, int]:
    """Height and width. Raises UsageError where they were not given."""
    if media.image_size is None:
        raise UsageError(
            f"How many tokens {what} become depends on their size.",
            hint="Add --image-size WIDTHxHEIGHT, such as --image-size 1920x1080.",
        )
    return media.image_size
