"""Encoder-decoders in training, against what autograd saves in transformers 5.23 with torch 2.13.

Two sequences, 40 positions in the encoder and 24 in the decoder, in bf16; dropouts through
``torch.native_dropout`` as CUDA runs them. A LayerNorm's mean and deviation have 2 bytes each on
the CPU and 4 on CUDA.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.memory.training import training_estimate
from hfmem.memory.training_parameters import parameters
from hfmem.memory.training_pass import activations, saving_of
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import layer_saved
from hfmem.memory.training_sharding import stages
from hfmem.memory.training_tensors import Saving
from hfmem.memory.training_towers import tower_saved
from hfmem.model.model import Model
from hfmem.model.text_encoders import CROSSING, text_encoder
from tests.memory.training_models import model_of

SIZES: dict[str, object] = {
    "d_model": 48,
    "encoder_ffn_dim": 112,
    "decoder_ffn_dim": 112,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "vocab_size": 200,
    "dtype": "bfloat16",
}
BART = {**SIZES, "model_type": "bart", "architectures": ["BartForConditionalGeneration"]}
WHISPER = {
    **SIZES,
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "max_source_positions": 40,
    "num_mel_bins": 8,
}
RUN = TrainingRun(precision="bf16", seq_len=24, micro_batch=2)
SOURCE, TARGET = 2 * 40, 2 * 24


def saving(model: Model, run: TrainingRun) -> Saving:
    """The decoder's, over 40 positions of the encoder."""
    assert model.forward is not None
    found = saving_of(model, model.forward, run, tokens=24)
    assert found.cross is not None
    return replace(found, cross=replace(found.cross, tokens=40))


@pytest.mark.parametrize(
    ("config", "method", "encoder", "decoder"),
    [
        (BART, "full", 107_520, 101_952),
        (BART, "lora", 74_240, 77_376),
        (WHISPER, "full", 107_520, 104_256),
        (WHISPER, "lora", 66_560, 70_464),
    ],
)
def test_a_layer_of_each_half(
    config: dict[str, object], method: str, encoder: int, decoder: int
) -> None:
    """Without adapters, "lora" is a frozen layer whose input wants a gradient."""
    model = model_of(config)
    run = replace(RUN, method=method)
    own = saving(model, run)
    assert model.forward is not None
    (kind,) = model.forward.kinds
    # Three LayerNorms in the decoder, two in the encoder.
    assert layer_saved(kind.shape, own).bytes() == decoder + 3 * 4 * TARGET
    layers = text_encoder(model.decoder.text, tokens=40)
    assert layers is not None
    its = replace(
        own,
        cross=None,
        tokens=40,
        backward=layers.backward,
    )
    assert tower_saved(layers, its).bytes() == encoder + 2 * 4 * SOURCE


def test_everything_that_whisper_saves() -> None:
    """Sound, convolutions, both halves, norms, the head's input and the log-softmax in bf16."""
    model = model_of(WHISPER)
    assert model.forward is not None
    (rank,) = stages(RUN.parallel, layers=1, tied=False)
    held = parameters(model, RUN, None)
    assert held is not None
    found = activations(model, model.forward, RUN, rank, held, None, tokens=24)
    assert found.loss is not None
    whole = found.whole
    size = whole.outside_kept + whole.towers_kept + found.loss.kept
    size += sum(layer.kept for layer in whole.layers)
    assert size == pytest.approx(298_178, rel=0.005)


@pytest.mark.parametrize(("config", "told"), [(BART, True), (WHISPER, False)])
def test_a_length_of_the_encoder_that_is_taken_is_told(
    config: dict[str, object], told: bool
) -> None:
    notes = training_estimate(model_of(config), RUN).notes
    assert ("encoder_ctx_assumed" in {note.code for note in notes}) is told


@pytest.mark.parametrize("model_type", sorted(CROSSING))
def test_every_family_of_bart_is_described(model_type: str) -> None:
    config = {**WHISPER, "model_type": model_type, "architectures": ["ForConditionalGeneration"]}
    found = training_estimate(model_of(config), RUN)
    assert found.unknown in ((), ("weights", "gradients", "optimizer"))
    eager = training_estimate(model_of(config), replace(RUN, attention="eager"))
    assert "activations" in eager.unknown
