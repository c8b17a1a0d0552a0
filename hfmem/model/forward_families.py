"""How each family's modeling code lays out a layer: one small entry a family.

Read from transformers 5.23. A family that is not here has no forward pass, and its activations are
unknown: what a layer holds follows from its code and from nothing in config.json.
"""

from __future__ import annotations

from collections.abc import Mapping

from hfmem.model.forward_dense import DENSE
from hfmem.model.forward_early import EARLY
from hfmem.model.forward_encoders import ENCODERS
from hfmem.model.forward_experts import EXPERTS
from hfmem.model.forward_family import ACTIVATION_COPIES, ExpertsFamily, Family
from hfmem.model.forward_hybrids import HYBRIDS

__all__ = ["ACTIVATION_COPIES", "BY_MODEL_TYPE", "FAMILIES", "ExpertsFamily", "Family"]

FAMILIES: tuple[Family, ...] = (*DENSE, *EARLY, *ENCODERS, *EXPERTS, *HYBRIDS)
"""Every entry; one model type belongs to one."""

BY_MODEL_TYPE: Mapping[str, Family] = {
    name: family for family in FAMILIES for name in family.model_types
}
