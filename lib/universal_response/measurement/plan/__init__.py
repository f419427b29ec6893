"""What a measurement will cost, before anything is downloaded: memory, operations, time.

Everything is counted from the architecture and the settings, but for the speed of the device, which
is measured on the spot, and for the part of it that the engine reaches, which was measured once on
a CPU and is assumed elsewhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
