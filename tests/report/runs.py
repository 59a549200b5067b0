"""A tiny finished run of every study on planted scenes, for those who look at whole reports."""

from pathlib import Path

import yaml

from conceptseg.study import __main__ as command

BESIDE = ["seg_grad_cam"]
TINY = {
    "ability": {"control_images": 4, "unit_images": 8, "gallery": 2},
    "ace": {
        "scales": [12],
        "min_images": 3,
        "concepts": {"kind": "kmeans", "counts": [5], "draws": 2, "seeds": 2},
        "min_auc": 0.6,
        "nulls": 199,
        "calibration": 20,
        "control_images": 10,
        "map_segments": 24,  # fewer than UMAP wants, whose compilation takes long
    },
    "actmax": {"steps": 8, "most": 5, "seeds": 2, "rows": 4, "size_px": 32, "exemplars": 4},
    "audit": {"images": 12, "donors": 6, "min_images": 5, "look_images": 2},
    "bottleneck": {
        "regressors": ["ridge"],
        "folds": 3,
        "repeats": 1,
        "map_seeds": 1,
        "map_images": 24,  # as above
        "shift_images": 20,
        "min_slice": 4,
    },
    "counterfactual": {
        "pairs": [["digit 3", "digit 9"]],
        "images": 5,
        "steps": 3,
        "regions": 3,
        "random": 2,
        "donors": 1,
        "gallery": 2,
    },
    "deepdream": {"starts": 8, "steps": 8, "points": 2},
    "dictionary": {
        "finder": {"kind": "nmf", "counts": [6]},
        "recover_images": 6,
        "erase_images": 10,
        "random_edits": 3,
        "sobol_atoms": 2,
        "sobol_images": 3,
        "sobol_draws": 4,
        "cards": 3,
        "exemplars": 2,
    },
    "diff": {
        "other": {"source": "planted", "name": "clean"},
        "finder": {"kind": "nmf", "counts": [6]},
        "recover_images": 6,
        "erase_images": 10,
        "gallery": 2,
        "cards": 3,
    },
    "dissect": {
        "min_images": 2,
        "pilot_images": 8,
        "textures": 3,
        "permutations": 199,
        "rotations": 1,
        "random_sets": 20,
        "ablate_images": 30,
        "cards": 6,
        "exemplars": 4,
    },
    "examples": {"regions": "labelled", "prototypes": 2, "min_objects": 8, "cases": 1},
    "graph": {
        "layers": ["encoder.1", "bottleneck"],
        "images": 12,
        "min_images": 5,
        "edges": 3,
        "random_groups": 999,
        "exemplars": 1,
    },
    "landmarks": {"thickest": 0.25, "slender": 1.0, "each": 1, "gallery": 1},
    "language": {
        "seeds": 2,
        "steps": 20,
        "words": 2,
        "vocabulary": 4,
        "exemplars": 1,
        "min_objects": 20,
    },
    "lcrp": {
        "min_images": 3,
        "concepts": 4,
        "random_images": 6,
        "shuffled_networks": 3,
        "shuffled_images": 2,
        "sensitivity_images": 3,
        "flip_images": 2,
        "flip_steps": 4,
        "random_orders": 2,
        "conserve_images": 1,
        "exemplars": 4,
    },
    "noise": {"images": 16, "judged": 6, "steps": 4, "points": 4, "beside": [], "gallery": 2},
    "permutation": {"images": 12, "repeats": 2, "most_repeats": 4, "gallery": 2},
    "prototypes": {"min_regions": 5, "counts": [1, 2], "exemplars": 2, "outliers": 1},
    "saliency": {
        "compare": ["seg_grad_cam", "vanilla_saliency", "prediction_mask", "random_map"],
        "metrics": ["deletion", "dice_explained", "saliency_ratio", "cbl", "randomisation"],
        "images": 8,
        "sanity_images": 3,
        "gallery": 3,
    },
    "segnbdt": {
        "random_trees": 39,
        "bootstraps": 10,
        "evidence_images": 4,
        "inspected": 2,
        "exemplars": 2,
    },
}
"""Keys that make each study short, by its name."""
IMAGES = {"audit": 160, "bottleneck": 48}
"""Scenes of a study that needs other than 60 of them."""


def finish(study: str, folder: Path, network: str = "biased") -> Path:
    """Run a study on a few planted scenes; returns the folder of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    count = IMAGES.get(study, 60)
    (folder / "set.yaml").write_text(f"{{format: planted, name: few, n: {count}}}")
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "planted", "name": network},
        "run": {"device": "cpu", "threads": 1},
        "layer": "bottleneck",
        "picture_px": 64,
        "compare": BESIDE,
        **TINY[study],
    }
    path = folder / f"{study}.yaml"
    path.write_text(yaml.safe_dump(content))
    out = folder / "out"
    if command.main([study, "-c", str(path), "--out", str(out), "--quiet"]):
        raise AssertionError(f"the tiny run of {study} failed")
    return out
