"""Trained networks of many classes on masks of others: merged and dropped, against sums by hand."""

import numpy as np
import pytest
import torch
import yaml
from scipy.special import logsumexp

from conceptseg.config import DataConfig, ModelConfig, RunConfig, StudyKeys
from conceptseg.engine.examine import IMAGES, examine
from conceptseg.engine.reading import some
from conceptseg.engine.start import prepare
from conceptseg.study import __main__ as command
from tests.network.nets.test_nets import CGNET, ESPNETV2

CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car")
CAMVID += ("pedestrian", "bicyclist")
VOC = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair")
VOC += ("cow", "diningtable", "dog", "horse", "motorbike", "person", "potted plant", "sheep")
VOC += ("sofa", "train", "tv/monitor")
STREET = {"car": ("car", "bus", "train"), "pedestrian": ("person",)}
STREET |= {"bicyclist": ("bicycle", "motorbike"), "street": ("background", "potted plant")}
CASES = {
    "espnetv2": {
        "name": "tests.network.nets.espnetv2:ESPNetv2",
        "folder": "espnetv2_voc",
        "classes": VOC,
        "preprocessing": ESPNETV2.model_copy(update={"multiple": 16}),
        "merge": STREET,
        "drop": tuple(n for n in VOC if n not in sum(STREET.values(), ()) and n != "dog"),
        # What VOC has no name for is street; of its classes the dog stays, which no mask holds.
        "names": ("street", "car", "pedestrian", "bicyclist"),
        "remap": {**dict.fromkeys(range(8), "street"), 8: "car", 9: "pedestrian", 10: "bicyclist"},
        "ignore": [11],
    },
    "cgnet": {
        "name": "tests.network.nets.cgnet:CGNet",
        "folder": "cgnet_camvid",
        "classes": CAMVID,
        "preprocessing": CGNET,
        "merge": {"ground": ("road", "pavement"), "thin": ("pole", "sign_symbol", "fence")},
        "drop": ("bicyclist",),
        # Masks keep road and pavement apart: they go by the names of the merged class's outputs.
        "names": CAMVID[:10],
        "remap": None,
        "ignore": [10, 11],
    },
}


@pytest.fixture(params=CASES)
def case(request, shared_dir, tmp_path):
    case = CASES[request.param]
    labels = {"names": list(case["names"]), "ignore": case["ignore"]}
    if case["remap"]:
        labels["remap"] = case["remap"]
    content = {
        "format": "native",
        "root": str(shared_dir / "data" / "camvid"),
        "labels": labels,
        "folders": [
            {"images": "test/images/{id}.jpg", "masks": "test/masks/{id}.png", "ids": "test.txt"}
        ],
    }
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump(content))
    keys = ("name", "classes", "preprocessing", "merge", "drop")
    model = ModelConfig(
        source="factory",
        weights=str(shared_dir / "models" / case["folder"] / "weights.pth"),
        **{key: case[key] for key in keys},
    )
    study = StudyKeys(
        data=DataConfig(manifest=str(path), limit=IMAGES),
        model=model,
        run=RunConfig(device="cpu"),
    )
    return case, study


def by_hand(context, case):
    """IoU of each class that is left, from what the network itself puts out, in float64."""
    groups = {
        name: names
        for name in case["classes"]
        if name not in case["drop"]
        for group in [next((g for g, m in case["merge"].items() if name in m), name)]
        for name, names in [(group, case["merge"].get(group, (name,)))]
    }
    raw, model, manifest = [], context.model, context.manifest
    handle = model.module.register_forward_hook(lambda module, args, output: raw.append(output))
    both, either = np.zeros((2, len(groups)))
    for sample in some(context, IMAGES):
        image, labels = manifest.pair(sample)
        raw.clear()
        with torch.no_grad():
            model(torch.from_numpy(image)[None])
        z = raw[-1][0] if isinstance(raw[-1], (tuple, list)) else raw[-1]
        z = z[0].double().numpy()
        rows = [[case["classes"].index(n) for n in names] for names in groups.values()]
        merged = torch.from_numpy(np.stack([logsumexp(z[row], 0) for row in rows]))[None]
        whole = torch.nn.functional.interpolate(merged, labels.shape, mode="bilinear")
        predicted = whole[0].argmax(0).numpy()
        for c, (group, names) in enumerate(groups.items()):
            of_class = [i for i, n in enumerate(case["names"]) if n == group or n in names]
            truth, ours = np.isin(labels, of_class), (predicted == c) & (labels >= 0)
            both[c] += (truth & ours).sum()
            either[c] += (truth | ours).sum()
    handle.remove()
    return dict(zip(groups, np.where(either > 0, both / either.clip(1), np.nan), strict=True))


@pytest.mark.slow
def test_iou_of_merged_classes_is_that_of_summed_probabilities(case):
    case, study = case
    context = prepare(study)
    wanted = by_hand(context, case)
    assert tuple(wanted) == context.model.classes
    found = examine(context)
    rows = {row["output"]: row for row in found.classes}
    assert list(rows) == list(case["classes"])
    for name, row in rows.items():
        if name in case["drop"]:
            assert row["class"] == "left out" and row["iou"] is None
            continue
        group = next((g for g, names in case["merge"].items() if name in names), name)
        assert row["class"] == group
        if np.isnan(wanted[group]):
            assert row["iou"] is None
        else:
            assert row["iou"] == pytest.approx(wanted[group], abs=2e-4), name
    # The networks do see: what is compared are no zeros.
    assert np.nanmax(list(wanted.values())) > 0.8
    assert context.held == {context.model.classes.index(n) for n in wanted if n not in ("dog",)}


@pytest.mark.slow
def test_check_shows_the_table(shared_dir, case, tmp_path, capsys):
    case, study = case
    path = tmp_path / "permutation_merged.yaml"
    content = study.model_dump(mode="json", exclude={"compare"}) | {"min_images": 2}
    path.write_text(yaml.safe_dump(content))
    assert command.main(["check", "-c", str(path)]) == 0
    told = capsys.readouterr().out
    assert "counts as" in told and "left out" in told
    for group, names in case["merge"].items():
        for name in names:
            assert any(name in line and group in line for line in told.splitlines())
