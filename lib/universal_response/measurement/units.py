"""Durations and amounts of memory in words."""


def in_bytes(n: int) -> str:
    """A number of bytes in MB or GB."""
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def in_time(seconds: float) -> str:
    """A duration in the largest unit of which there are some, to about two digits."""
    for unit, length, least in (("days", 86400, 2), ("h", 3600, 1.5), ("min", 60, 1.5)):
        if seconds >= least * length:
            return f"{seconds / length:,.{1 if seconds < 10 * length else 0}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "below 1 s"
