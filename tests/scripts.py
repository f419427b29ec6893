"""The scripts of the explorers, read as a browser reads them."""

import base64
import json
import zlib

import numpy as np


def unpacked(text):
    """`explorer.pack` backwards, a number at a time as the browser puts it together."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, -1)
    words = sum(planes[k].astype(np.uint32) << (24 - 8 * k) for k in range(4))
    return words.view(np.float32)


def value_of(script):
    """What a script assigns."""
    return json.loads(script.partition(" = ")[2].rstrip().removesuffix(";"))
