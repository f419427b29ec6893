"""The course: its exercises, checks that tell whether an answer is right, and timetables.

A check holds no answers. It computes what it compares with, from a results file or from a small
calculation of its own, so it stays right when the course is taught with another model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
