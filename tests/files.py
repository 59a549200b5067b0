"""Small files written by hand, for tests of what reads them."""

import struct
import zlib

import numpy as np
import yaml
from PIL import Image

from conceptseg.data.manifest import load_manifest

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


class Plainly(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, bits=None):
    """PNG bytes of [h, w] or [h, w, c], straight from the specification, without any filter."""
    values = np.asarray(values)
    values = values[..., None] if values.ndim == 2 else values
    height, width, channels = values.shape
    bits = bits or 8 * values.dtype.itemsize
    if bits < 8:
        spread = np.unpackbits(values.astype(np.uint8).reshape(height, -1, 1), axis=2)[..., -bits:]
        rows = [np.packbits(row).tobytes() for row in spread.reshape(height, -1)]
    else:
        rows = [row.astype(f">u{bits // 8}").tobytes() for row in values]
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return png_of(width, height, bits, COLOUR_TYPES[channels], data)


def png_of(width, height, bits, colour, data):
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def indexed(path, values, palette=(9, 9, 9) * 256):
    image = Image.fromarray(np.asarray(values, np.uint8), mode=None).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(palette)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def manifest(folder, name="m.yaml", root_override=None, **keys):
    """The manifest with these keys, written to a file and read from there."""
    path = write(folder / name, yaml.dump(keys, Dumper=Plainly))
    return load_manifest(path, root_override)


def pairs(folder, names=("a", "b", "c"), side=4, values=3):
    """Grey images and masks `train/{images,masks}/NAME.png` of seeded noise; what was written."""
    rng = np.random.default_rng(0)
    written = {}
    for name in names:
        image = rng.integers(0, 256, (side, side, 3), np.uint8)
        mask = rng.integers(0, values, (side, side), np.uint8)
        write(folder / f"train/images/{name}.png", png(image))
        write(folder / f"train/masks/{name}.png", png(mask))
        written[name] = image, mask
    return written


LABELS = {"names": ["ground", "tree", "rock"]}
FOLDERS = [{"images": "train/images/{id}.png", "masks": "train/masks/{id}.png"}]
