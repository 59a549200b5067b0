"""Concept-based and global analysis of image segmentation models.

The map, in one minute. Imports go downwards only: a room knows those above its line, never those
below. A folder in the second column is a contract; a file in it is one technique, and the file's
name is its key in YAML (of a study, the folder's name).

=============  ====================  ============================================================
room           contract              input -> output
=============  ====================  ============================================================
`stats`        `contract.Statistic`  values of samples -> something that merges (`mergeable/`)
`result`       `saved.Result`        findings, tables, arrays, pictures <-> a folder
`report`       `blocks.Report`       result -> one HTML file
..             `trackers`            finished run -> a tracker of experiments (`trackers/`)
`planted`      `generator`           a benchmark whose reliance on context is known
`data`         `manifest.Reader`     manifest file -> `manifest.Manifest` (`readers/`)
`network`      `model.Loader`        configuration -> `model.SegmentationModel` (`sources/`)
`concepts`     `ConceptFinder`       embeddings -> directions (`finders/`)
..             `CavLearner`          a concept's embeddings and its contrast's -> one (`cavs/`)
`explain`      `Explainer`           image -> attribution map (`explainers/`, by `lrp/` too)
..             `Metric`              attribution map -> number (`metrics/`)
..             `Generator`           image -> parameters, and images of others (`generators/`)
`engine`       `contract.Pass`       samples -> states that merge; `run` is the one loop
`study`        `contract.Study`      data set and network -> `result.saved.Result`
=============  ====================  ============================================================

Everybody may know the files at the root: `errors`, `extras` (optional packages), `strict` and
`config` (the keys of YAML files), `settings` (reads those files), `catalogue` (finds techniques by
name). `notebook` stands on top.

Shape letters: n images, c input channels, k classes, h w pixels, u units (channels of a layer) on
a grid of y x positions, m rows, d features.

>>> import torch
>>> from conceptseg.catalogue import load
>>> from conceptseg.config import ModelConfig
>>> from conceptseg.explain.target import Target
>>> from conceptseg.network.model import load_model
>>> network = load_model(ModelConfig(source="planted", name="biased"), [], "cpu")
>>> images = torch.rand(2, 1, 64, 64)
>>> network(images).shape
torch.Size([2, 11, 64, 64])
>>> load("explainers", "seg_grad_cam")()(network, images, Target(3)).shape
torch.Size([2, 64, 64])
"""

__version__ = "0.1.0"
