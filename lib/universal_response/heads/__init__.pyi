from . import summaries
from .attribution import Attribution, attribution_patching, direct_attribution, direct_effects
from .behaviour import Predictions, loss, predictions, queries
from .circuits import (
    Factors,
    k_composition,
    ov_circuit,
    positive_share,
    qk_circuit,
    random_composition,
    token_overlap,
)
from .lens import Lens, logit_lens
from .replacing import By, Head, all_heads, each_replaced, edge_patched, edges, kept, replaced, run
from .rotary import rotations
from .scores import (
    SCORES,
    attention_scores,
    by_offset,
    duplicate_token,
    induction,
    prefix_matching,
    previous_token,
    stripe,
)
from .split import PARTS, SplitChanges, carried, split_changes, sum_error
from .study import (
    HeadSettings,
    heads_for,
    study_heads,
    study_heads_into,
    verify_heads,
)
from .summaries import CLASSES

__all__ = [
    "CLASSES",
    "PARTS",
    "SCORES",
    "Attribution",
    "By",
    "Factors",
    "Head",
    "HeadSettings",
    "Lens",
    "Predictions",
    "SplitChanges",
    "all_heads",
    "attention_scores",
    "attribution_patching",
    "by_offset",
    "carried",
    "direct_attribution",
    "direct_effects",
    "duplicate_token",
    "each_replaced",
    "edge_patched",
    "edges",
    "heads_for",
    "induction",
    "k_composition",
    "kept",
    "logit_lens",
    "loss",
    "ov_circuit",
    "positive_share",
    "predictions",
    "prefix_matching",
    "previous_token",
    "qk_circuit",
    "queries",
    "random_composition",
    "replaced",
    "rotations",
    "run",
    "split_changes",
    "stripe",
    "study_heads",
    "study_heads_into",
    "sum_error",
    "summaries",
    "token_overlap",
    "verify_heads",
]
