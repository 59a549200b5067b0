"""Parameters with which the contract's tests build explainers, where defaults do not suit them."""

SMALL = {
    "counterfactual_segments": {"segments": 4, "fill": "black", "below": 0.3},
    "metfa": {"draws": 6},
    # No class of the small network is more probable than 0.4.
    "improved_grad_cam": {"threshold": 0.3},
    # Thousands of passes by default.
    "rise": {"masks": 60},
    "seg_sobol": {"grid": 3, "samples": 8},
    "shap": {"cells": 14, "samples": 120},
    # Surroundings are worth nothing to small networks, and of objects little.
    "grid_saliency": {"form": "object", "steps": 20, "penalty": 1e-5, "rate": 50.0},
    "misure": {"steps": 4},
    "adapted_seg_score_cam": {"channels": 2},
    "kernel_weighted": {"channels": 2},
    # Its segments are sought in a larger square than the images are.
    "score_maps": {"size_px": 48, "min_size": 20},
}
