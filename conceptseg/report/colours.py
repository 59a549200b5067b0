"""Colour scales for numbers: perceptually uniform and safe for colour-blind readers.

Uniform means that equal steps of the value are equal steps in OKLab (Ottosson 2020), a space in
which distance is what an eye sees. `balance` is for signed values: straight lines in OKLab from
blue over almost white to brown, both ends equally dark, so that neither sign looks stronger.
`cividis` is for magnitudes (Nunez, Anderton and Renslow 2018, doi 10.1371/journal.pone.0199239).
"""

import numpy as np

# Okabe and Ito 2008, without the yellow that cannot be read on white; grey comes last.
CATEGORIES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#b8860b",
    "#56b4e9",
    "#6b4c9a",
    "#7f7f7f",
)
PLACES = {"inside": "#0072b2", "ring": "#e69f00", "elsewhere": "#9a9a9a"}

_STEPS = 33
_CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)


def _oklab_to_hex(lab: np.ndarray) -> tuple[str, ...]:
    """OKLab rows [m, 3] -> sRGB hex strings (the inverse matrices of Ottosson's definition)."""
    cone = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    rgb = np.clip(((lab @ cone.T) ** 3) @ linear.T, 0, 1)
    encoded = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return tuple("#{:02x}{:02x}{:02x}".format(*row) for row in np.rint(encoded * 255).astype(int))


def _balance() -> tuple[str, ...]:
    """Blue (hue 255 degrees) to brown (hue 55) over a near white, straight in OKLab."""
    position = np.linspace(-1, 1, _STEPS)
    hue = np.deg2rad(np.where(position < 0, 255.0, 55.0))
    strength = np.abs(position)
    chroma = 0.115 * strength
    lightness = 0.965 - 0.525 * strength
    return _oklab_to_hex(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1))


SCALES: dict[str, tuple[str, ...]] = {"cividis": _CIVIDIS, "balance": _balance()}


def stops(scale: str) -> list[list[float | str]]:
    """The scale as Plotly takes it: [[0, colour], ..., [1, colour]]."""
    colours = SCALES[scale]
    return [[round(i / (len(colours) - 1), 6), colour] for i, colour in enumerate(colours)]


def paint(values: np.ndarray, low: float, high: float, scale: str) -> np.ndarray:
    """Values of any shape -> uint8 colours [..., 3]; outside of [low, high] the end colours."""
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in SCALES[scale]], float)
    span = high - low if high > low else 1.0
    position = np.clip((np.nan_to_num(values) - low) / span, 0, 1) * (len(colours) - 1)
    places = np.arange(len(colours))
    channels = [np.interp(position, places, colours[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
