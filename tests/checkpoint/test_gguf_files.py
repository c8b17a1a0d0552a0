"""Which file of a GGUF repository is taken: llama.cpp's rule, on listings of published kinds."""

from __future__ import annotations

import pytest

from hfmem.checkpoint.gguf_files import choose_gguf, gguf_listing, projector_of, quantizations
from hfmem.checkpoint.snapshot import RepoFile
from hfmem.checkpoint.weight_sets import weight_sets
from hfmem.errors import NoWeightsError


def listing(*names: str) -> list[RepoFile]:
    return [RepoFile(name=name, bytes=1 << place) for place, name in enumerate(names)]


# llama.cpp 2026-11, common/download.cpp: find_best_model takes the first file, in the order of the
# listing, with "Q4_K_M" before a dot or a dash, else with "Q8_0", else the first that is a model.
@pytest.mark.parametrize(
    ("names", "asked", "taken"),
    [
        (["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"], None, "m-Q4_K_M.gguf"),
        (["m-Q2_K.gguf", "m-Q8_0.gguf", "m-f16.gguf"], None, "m-Q8_0.gguf"),
        (["m-IQ4_XS.gguf", "m-Q6_K.gguf"], None, "m-IQ4_XS.gguf"),
        (["m-UD-Q4_K_M.gguf", "z-Q4_K_S.gguf"], None, "m-UD-Q4_K_M.gguf"),
        (["m.q4_k_m.gguf", "m.q8_0.gguf"], None, "m.q4_k_m.gguf"),
        (["model.gguf"], None, "model.gguf"),
        (["mmproj-Q4_K_M.gguf", "m-Q5_0.gguf"], None, "m-Q5_0.gguf"),
        (["imatrix.gguf", "mtp-m-Q8_0.gguf", "m-Q5_0.gguf"], None, "m-Q5_0.gguf"),
        (["eagle3-m-Q4_K_M.gguf", "m-Q5_0.gguf"], None, "m-Q5_0.gguf"),
        (["m-Q4_K_M.gguf", "m-Q8_0.gguf"], "q8_0", "m-Q8_0.gguf"),
        (["m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf"], "UD-Q4_K_M", "m-UD-Q4_K_M.gguf"),
        (["m-UD-Q4_K_M.gguf"], "Q4_K_M", "m-UD-Q4_K_M.gguf"),
        (["m-Q4_K_M-imat.gguf", "m-Q8_0.gguf"], "Q4_K_M", "m-Q4_K_M-imat.gguf"),
        (["mmproj-F16.gguf", "m-Q8_0.gguf"], "mmproj-F16.gguf", "mmproj-F16.gguf"),
        (["a-Q4_0.gguf", "b-Q4_0.gguf"], "b-Q4_0.gguf", "b-Q4_0.gguf"),
        (
            ["Q4_K_M/m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf"],
            "Q4_K_M",
            "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf",
        ),
    ],
)
def test_the_file_that_is_taken(names: list[str], asked: str | None, taken: str) -> None:
    chosen = choose_gguf(weight_sets(listing(*names)), asked)
    assert chosen is not None
    assert chosen[0].name == taken


def test_a_choice_is_said() -> None:
    chosen = choose_gguf(weight_sets(listing("m-Q4_K_M.gguf", "m-Q8_0.gguf")), None)
    assert chosen is not None
    assert chosen[1][0].message.startswith("Q4_K_M of 2 quantizations, as llama.cpp takes it")


@pytest.mark.parametrize("asked", ["Q3_K_M", "Q4", "."])
def test_what_is_not_there(asked: str) -> None:
    with pytest.raises(NoWeightsError, match="no quantization") as error:
        choose_gguf(weight_sets(listing("m-Q4_K_M.gguf", "m-Q8_0.gguf")), asked)
    assert error.value.hint == "It has: Q4_K_M, Q8_0."


def test_two_models_of_one_quantization_are_both_listed() -> None:
    sets = weight_sets(listing("large-Q4_0.gguf", "small-Q4_0.gguf"))
    assert list(quantizations(sets)) == ["Q4_0", "small-Q4_0.gguf"]


def test_the_listing() -> None:
    found = gguf_listing(
        listing("README.md", "m-Q8_0.gguf", "m-Q4_0.gguf", "mmproj-F16.gguf", "imatrix.gguf")
    )
    assert [(one.name, one.bytes) for one in found.models] == [("Q8_0", 2), ("Q4_0", 4)]
    assert [one.name for one in found.projectors] == ["mmproj-F16.gguf"]


@pytest.mark.parametrize(
    ("model", "projectors", "expected"),
    # llama.cpp common/download.cpp: find_best_sibling.
    [
        ("m-Q8_0.gguf", ["mmproj-F16.gguf", "mmproj-Q8_0.gguf"], "mmproj-Q8_0.gguf"),
        ("m-Q4_K_M.gguf", ["mmproj-BF16.gguf", "mmproj-F32.gguf"], "mmproj-BF16.gguf"),
        ("m-Q4_K_M.gguf", ["mmproj-F16.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        ("Q8_0/m-Q8_0.gguf", ["mmproj-Q8_0.gguf", "Q8_0/mmproj-F16.gguf"], "Q8_0/mmproj-F16.gguf"),
        ("Q8_0/m-Q8_0.gguf", ["BF16/mmproj-BF16.gguf"], None),
        ("m-Q8_0.gguf", [], None),
    ],
)
def test_the_projector_that_is_loaded_beside(
    model: str, projectors: list[str], expected: str | None
) -> None:
    listing = gguf_listing([RepoFile(name=name, bytes=1) for name in (model, *projectors)])
    found = projector_of(listing, model)
    assert (found.files[0] if found else None) == expected
