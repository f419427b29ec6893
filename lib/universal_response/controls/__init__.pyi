from .catalogue import ABSENT, CONTROLS, PRESENT, Control
from .find import control_and_model, control_file, controls_for, in_rotation
from .measure import measure_control, measure_controls
from .signature import FACTOR, LEVEL, OPEN, Signature, log_ratios, signature, table, verdicts

__all__ = [
    "ABSENT",
    "CONTROLS",
    "FACTOR",
    "LEVEL",
    "OPEN",
    "PRESENT",
    "Control",
    "Signature",
    "control_and_model",
    "control_file",
    "controls_for",
    "in_rotation",
    "log_ratios",
    "measure_control",
    "measure_controls",
    "signature",
    "table",
    "verdicts",
]
