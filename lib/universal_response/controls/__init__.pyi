from .catalogue import ABSENT, CONTROLS, PRESENT, Control
from .measure import control_file, measure_control, measure_controls
from .signature import FACTOR, LEVEL, OPEN, Signature, log_ratios, signature, verdicts

__all__ = [
    "ABSENT",
    "CONTROLS",
    "FACTOR",
    "LEVEL",
    "OPEN",
    "PRESENT",
    "Control",
    "Signature",
    "control_file",
    "log_ratios",
    "measure_control",
    "measure_controls",
    "signature",
    "verdicts",
]
