"""A made-up result and report of the kind a concept study gives, with photographs in it."""

from functools import cache

import numpy as np
from skimage import data, segmentation, transform

from conceptseg.report import figures, thumbnails
from conceptseg.report.blocks import (
    Card,
    Cards,
    ColourBar,
    FigureBlock,
    Gallery,
    Notice,
    Picture,
    Prose,
    Report,
    Section,
    TableBlock,
)
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table

HOSTILE = "<script>alert(1)</script>"
CLASSES = ("road", "pavement", "cyclist & rider", HOSTILE)
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket", "camera", "coins")


@cache
def photos(side: int = 192) -> dict[str, np.ndarray]:
    """Images [c, h, w] in [0, 1], of one and of three channels."""
    found = {}
    for name in PHOTOS:
        image = np.atleast_3d(np.asarray(getattr(data, name)(), float) / 255)
        small = transform.resize(image, (side * 3 // 4, side), anti_aliasing=True)
        found[name] = small.transpose(2, 0, 1).astype(np.float32)
    return found


@cache
def regions(name: str) -> list[np.ndarray]:
    image = photos()[name].transpose(1, 2, 0)
    labels = segmentation.slic(
        image if image.shape[2] == 3 else image[..., 0],
        n_segments=12,
        channel_axis=-1 if image.shape[2] == 3 else None,
    )
    return [labels == value for value in np.unique(labels)]


@cache
def outlines(name: str) -> list[str]:
    return [thumbnails.outline(mask) for mask in regions(name)]


def example(concepts: int = 8, points: int = 300, copies: int = 1) -> tuple[Result, Report]:
    """The same numbers each time; `copies` multiplies the number of photographs."""
    rng = np.random.default_rng(4)
    images, keys = {}, []
    for copy in range(copies):
        for name, image in photos().items():
            noisy = image if copy == 0 else np.clip(image + rng.normal(0, 0.03, image.shape), 0, 1)
            keys.append((safe_key(f"photo {name} {copy}"), name))
            images[keys[-1][0]] = thumbnails.photo(noisy)
    saliency = {name: rng.normal(0, 1, (6, 8)) for name in PHOTOS}
    limit = thumbnails.shared_limit(saliency.values())
    for name, image in photos().items():
        grown = transform.resize(saliency[name], image.shape[1:], order=3)
        images[f"saliency-{name}"] = thumbnails.overlay(image, grown, -limit, limit)
    names = [f"concept {number + 1}" for number in range(concepts)]
    effect = np.round(rng.normal(0, 0.12, (concepts, len(CLASSES))), 3)
    p = np.minimum(1, np.exp(-np.abs(effect) * 45))
    findings = ranked(
        Finding(
            claim=f"Erasing {names[k]} {'costs' if effect[k, c] < 0 else 'raises'} the overlap "
            f"of {CLASSES[c]}, and it acts from outside the object.",
            class_=CLASSES[c],
            effect=effect[k, c],
            p=p[k, c],
            p_adjusted=min(1, p[k, c] * 4),
            ci=(effect[k, c] - 0.05, effect[k, c] + 0.05),
            n=118,
            evidence=f"card-{k + 1}",
            details={"effect_name": "change of IoU"},
        )
        for k in range(concepts)
        for c in range(len(CLASSES))
        if abs(effect[k, c]) > 0.08
    )
    rows = [
        {"concept": names[k], "class": CLASSES[c], "effect": effect[k, c], "p": p[k, c]}
        for k in range(concepts)
        for c in range(len(CLASSES))
    ]
    result = Result(
        "ace",
        findings,
        {"effects": Table(rows)},
        {"effect": effect},
        images,
        skipped=[{"sample": f"seq/{i:04d}", "reason": "class not predicted"} for i in range(5)],
        provenance={
            "date": "2026-01-31",
            "model": {"name": "unet", "sha256": "ab" * 32},
            "data": {"name": HOSTILE, "images": 120},
            "seed": 0,
        },
        timings={"encode": 12.25, "total": 41.5},
        config={"layer": "auto", "seed": 0},
    )
    return result, _report(rng, names, effect, p, keys, points, limit, rows)


def _report(rng, names, effect, p, keys, points, limit, rows):
    table = Table(rows)
    k = len(names)
    chart = figures.intervals(
        names,
        effect[:, 0],
        effect[:, 0] - 0.05,
        effect[:, 0] + 0.05,
        value_name="change of IoU",
        null=(-0.06, 0.06),
        reference=0,
        significant=p[:, 0] < 0.05,
    )
    grid = figures.heatmap(
        effect,
        names,
        CLASSES,
        value_name="change of IoU",
        significant={"Holm": p < 0.01, "raw": p < 0.05},
    )
    shares = rng.dirichlet([3, 1, 2], k)
    places = figures.stacked_shares(
        names, dict(zip(("inside", "ring", "elsewhere"), shares.T, strict=True))
    )
    member = rng.integers(0, k, points)
    where = rng.normal(0, 1, (points, 2)) + 4 * rng.normal(0, 1, (k, 2))[member]
    hover, texts = [], []
    for number in range(points):
        key, name = keys[number % len(keys)]
        path = outlines(name)[number % len(outlines(name))]
        hover.append(Picture(key, "", f"{names[member[number]]}, {name}", (path,)))
        texts.append(f"{names[member[number]]} in {name}")
    umap = figures.scatter_map(where, [names[m] for m in member], texts, order=names)
    null = figures.null_histogram(
        rng.normal(0, 0.03, 999), {"concept 1": 0.14, HOSTILE: -0.1}, value_name="change of IoU"
    )
    bars = figures.bars(
        names,
        {"erased": effect[:, 1]},
        {"erased": (effect[:, 1] - 0.04, effect[:, 1] + 0.04)},
        value_name="change of IoU",
    )
    steps = np.linspace(0, 1, 15)
    flips = figures.curves(
        steps,
        {"concept": 1 - steps**2, "random": 1 - steps},
        {"random": (0.9 - steps, 1.1 - steps)},
        x_name="share removed",
        y_name="IoU",
    )

    def block(figure, heading, **more):
        return FigureBlock(
            figure,
            heading,
            f"{heading}: a chart of {k} concepts.",
            "Intervals are 95 % over images.",
            table,
            **more,
        )

    return Report(
        "Concepts behind the classes of unet",
        f"What the bottleneck uses for {HOSTILE}",
        "The network rests on eight concepts. Two of them act from outside the object.\n\n"
        "One of them costs the class a third of its overlap when it is erased.",
        [
            ("Model", "unet"),
            ("Data", "CamVid, test"),
            ("Images", 120),
            ("Date", "2026-01-31"),
            ("Layer", "encoder.4"),
            ("Classes", len(CLASSES)),
        ],
        [
            Section(
                "concepts",
                "Concepts",
                "Each is shown in whole images.",
                [Cards([_card(number, name, keys) for number, name in enumerate(names)])],
            ),
            Section(
                "effects",
                "Which class uses what",
                "",
                [
                    block(grid, "Concepts by class"),
                    block(chart, "Effect against chance"),
                    block(bars, "Erasure"),
                    block(places, "Where the concepts live"),
                ],
            ),
            Section(
                "map",
                "Map of the segments",
                "",
                [
                    block(umap, "Segments", hover=hover),
                    block(null, "How much is chance"),
                    block(flips, "Removing step by step"),
                ],
            ),
            Section("local", "Local saliency", "", [_gallery(limit)]),
            Section(
                "numbers",
                "Numbers",
                "",
                [
                    Prose("All effects.", ("first", "second"), heading="Reading the table"),
                    TableBlock(table, "Effects"),
                    Notice("The bottleneck carries 41 % of the decision.", "warning"),
                ],
            ),
        ],
        limits=("A concept is a cluster, not a word.", "No evidence is not evidence of absence."),
    )


def _card(number, name, keys):
    pictures = []
    for place in range(12):
        key, photo = keys[(number + place) % len(keys)]
        paths = outlines(photo)
        pictures.append(
            Picture(
                key,
                f"{photo} with a region of {name}",
                photo,
                (paths[(number + place) % len(paths)], paths[place % len(paths)]),
            )
        )
    return Card(
        name.capitalize(),
        [
            ("segments", 312),
            ("images", 88),
            ("held-out AUC", 0.934),
            ("isolation", 0.71),
            ("inside / ring / elsewhere", "62 / 12 / 26 %"),
            ("stability", 0.88),
        ],
        pictures,
        (HOSTILE, "acts from outside"),
        id=f"card-{number + 1}",
    )


def _gallery(limit):
    rows = [
        (
            name,
            [
                Picture(_key(name), name),
                Picture(f"saliency-{name}", f"saliency of {name}"),
                Picture(f"saliency-{name}", f"saliency of {name}, again", "mean 0.12"),
            ],
        )
        for name in PHOTOS
    ]
    return Gallery(
        ("image", "Seg-Grad-CAM", "Seg-HiRes-Grad-CAM"),
        rows,
        "Six images",
        "",
        ColourBar("balance", -limit, limit, "attribution"),
    )


def _key(name):
    return safe_key(f"photo {name} 0")
