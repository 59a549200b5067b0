"""What a saliency report shows in pictures: maps beside each other, and those of a finding."""

from collections.abc import Sequence

from conceptseg.report.blocks import ColourBar, Gallery, Picture, Section
from conceptseg.report.told import Illustrate
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.study.saliency.sections import method_names
from conceptseg.study.shared.local_maps import said


def gallery(result: Result) -> Section | None:
    cases = result.tables["gallery"].rows
    if not cases:
        return None
    place = {method: m for m, method in enumerate(result.notes["methods"])}
    names = [f"{row['class']} in {row['sample']}" for row in cases]
    named = list(zip(cases, names, strict=True))
    shown: list[tuple[str, list[Picture | None]]] = [
        ("image", [Picture(row["picture"], f"{name}, region outlined") for row, name in named])
    ]
    shown += [
        (
            method,
            [
                Picture(row["maps"][place[method]], f"{method}, {name}{said(row, method)}")
                for row, name in named
            ],
        )
        for method in method_names(result)
    ]
    bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the method's largest")
    return Section(
        "gallery",
        "The maps side by side",
        "Best mean rank first. All maps of a method share a scale, and all methods its ends: 1 is "
        "the largest attribution (99.5 % quantile) of the method in these cases.",
        [Gallery([f"case {n + 1}: {row['class']}" for n, row in enumerate(cases)], shown, bar=bar)],
    )


def illustrate(result: Result) -> Illustrate:
    """Of a method its maps, each beside the image with the region outlined."""
    place = {method: m for m, method in enumerate(result.notes["methods"])}
    rows = result.tables["gallery"].rows[:3]

    def chosen(finding: Finding, card: Sequence[Picture]) -> Sequence[Picture]:
        m, found = place.get(finding.details.get("method", "")), []
        for row in rows:
            name = f"{row['class']} in {row['sample']}"
            found.append(Picture(row["picture"], f"{name}, region outlined"))
            if m is not None:
                found.append(Picture(row["maps"][m], f"{finding.details['method']}, {name}"))
        return found

    return chosen
