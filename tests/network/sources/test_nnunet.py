import json

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

unets = pytest.importorskip("dynamic_network_architectures.architectures.unet")

KWARGS = {
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "conv_op": "torch.nn.modules.conv.Conv2d",
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 2], [2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
NEW = {
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": KWARGS,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
}
OLD = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 7,
    "conv_kernel_sizes": [[3, 3]] * 3,
    "pool_op_kernel_sizes": [[1, 1], [2, 2], [2, 2]],
    "n_conv_per_stage_encoder": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
}


def network(features=(4, 6, 8)):
    classes = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "nonlin": nn.LeakyReLU}
    torch.manual_seed(0)
    return unets.PlainConvUNet(
        input_channels=2,
        num_classes=3,
        deep_supervision=True,
        **(KWARGS | classes | {"features_per_stage": list(features)}),
    )


def write(folder, plan=NEW, net=None, folds=("0",), labels=None, **more):
    net = net or network()
    plan = {"normalization_schemes": ["ZScoreNormalization"] * 2} | plan | more
    plans = {"configurations": {"base": plan, "2d": {"inherits_from": "base"}}}
    (folder / "plans.json").write_text(json.dumps(plans))
    dataset = {"channel_names": {"0": "T1", "1": "T2"},
               "labels": labels or {"background": 0, "edema": 1, "core": 2}}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold in folds:
        (folder / f"fold_{fold}").mkdir()
        content = {
            "network_weights": {"module." + k: v for k, v in net.state_dict().items()},
            "optimizer_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.7)]},
            "_best_ema": np.float64(0.7),
            "init_args": {"plans": plans},
        }
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return net


def load(folder, **options):
    return load_model(ModelConfig(source="nnunet", name=str(folder), **options), ())


def test_the_folder_is_all_it_takes(tmp_path):
    net = write(tmp_path).eval()
    model = load(tmp_path)
    assert model.classes == ("background", "edema", "core")
    assert model.preprocessing.multiple == 4 and model.channels == 2
    assert model.origin == "checkpoint_final.pth; fold_0 alone, without mirroring"
    images = torch.rand(2, 2, 16, 24)
    scored = (images - images.mean((2, 3), keepdim=True)) / images.std(
        (2, 3), keepdim=True, correction=0
    )
    net.decoder.deep_supervision = False
    torch.testing.assert_close(model(images), net(scored))
    # nnU-Net sees raw values: their unit must not matter.
    torch.testing.assert_close(model(images * 0.3 + 0.1), model(images), rtol=1e-3, atol=1e-4)


def test_plans_of_older_versions(tmp_path):
    write(tmp_path, OLD, network((4, 7, 7)))
    assert load(tmp_path)(torch.rand(1, 2, 16, 16)).shape == (1, 3, 16, 16)


def test_own_preprocessing_replaces_the_plans(tmp_path):
    net = write(tmp_path, normalization_schemes=["CTNormalization", "CTNormalization"]).eval()
    with pytest.raises(InputError, match=r"by CTNormalization.*model.preprocessing"):
        load(tmp_path)
    model = load(tmp_path, preprocessing=Preprocessing(multiple=4))
    net.decoder.deep_supervision = False
    images = torch.rand(1, 2, 16, 16)
    torch.testing.assert_close(model(images), net(images))


def test_folds_are_chosen(tmp_path):
    write(tmp_path, folds=("0", "3", "all"))
    with pytest.raises(InputError, match=r"model.arguments.fold, .*; there are: 0, 3, all"):
        load(tmp_path)
    assert load(tmp_path, arguments={"fold": 3}).origin.endswith(
        "; fold_3 alone, without mirroring"
    )
    for wrong in ([0, 1], [0, 0], []):
        with pytest.raises(InputError, match=r"several as a list; there are: 0, 3, all"):
            load(tmp_path, arguments={"fold": wrong})
    with pytest.raises(InputError, match=r"checkpoint_best.pth: no such checkpoint"):
        load(tmp_path, arguments={"fold": "all", "checkpoint": "checkpoint_best.pth"})


def test_several_folds_are_the_mean_of_their_logits(tmp_path):
    write(tmp_path, folds=("0",))
    torch.manual_seed(7)
    nets = [network(), network()]
    for net in nets:
        for weights in net.parameters():
            torch.nn.init.normal_(weights, std=0.3)
    for fold, net in enumerate(nets, 1):
        (tmp_path / f"fold_{fold}").mkdir()
        content = {"network_weights": net.state_dict()}
        torch.save(content, tmp_path / f"fold_{fold}/checkpoint_final.pth")
    model = load(tmp_path, arguments={"fold": [1, 2]}, preprocessing=Preprocessing(multiple=4))
    assert "fold_1, fold_2 together, the mean of their logits" in model.origin
    images = torch.rand(2, 2, 16, 16)
    with torch.no_grad():
        apart = []
        for net in nets:
            net.eval().decoder.deep_supervision = False
            apart.append(net(images))
        torch.testing.assert_close(model(images), (apart[0] + apart[1]) / 2)
    assert (apart[0] - apart[1]).abs().max() > 0.1
    assert model.fingerprint() != load(tmp_path, arguments={"fold": [1, 0]}).fingerprint()


def test_regions_are_independent_classes_that_cover_those_within(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    net = write(tmp_path, labels=labels).eval()
    model = load(tmp_path, positive_class="core", preprocessing=Preprocessing(multiple=4))
    assert model.interpretation.outputs == ("whole", "core", "enhancing")
    assert model.classes == ("not core", "core")
    assert model.interpretation.covered == ("enhancing",)
    net.decoder.deep_supervision = False
    images = torch.rand(1, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[:, 1], net(images)[:, 1])
        assert (model(images)[:, 0] == 0).all()
    own = load(tmp_path, positive_class="whole", covers={"whole": ["edema"]})
    assert own.interpretation.covered == ("edema",)
    with pytest.raises(InputError, match="model.values is logits, but the labels of .* regions"):
        load(tmp_path, positive_class="core", values="logits")


def test_the_size_of_pixels_in_training(tmp_path):
    write(tmp_path, spacing=[0.8, 0.6])
    assert load(tmp_path).spacing == (0.8, 0.6)
    write_again = json.loads((tmp_path / "plans.json").read_text())
    write_again["configurations"]["base"]["spacing"] = [1.0, 1.0]
    (tmp_path / "plans.json").write_text(json.dumps(write_again))
    assert load(tmp_path).spacing is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan": {"architecture": {"network_class_name": "os.system", "arch_kwargs": {}}}},
         "'os.system' is not one of nnU-Net's"),
        ({"plan": {"architecture": NEW["architecture"] | {
            "arch_kwargs": KWARGS | {"conv_op": "torch.nn.Conv3d"}}}}, "not two-dimensional"),
        ({"plan": {}}, "describes no architecture"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": "x"}}, "or lists of them"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2, "c": [1]}},
         "a yes or no of its own.*model.positive_class: a, b, c"),
        ({"spacing": ["wide", 1]}, r"spacing must be numbers, got \['wide', 1\]"),
        ({"labels": {"background": 0, "core": 2}}, r"must be 0, 1, 2, ..., got \[0, 2\]"),
        ({"use_mask_for_norm": [True, True]}, "ZScoreNormalization within a mask"),
    ],
)  # fmt: skip
def test_refused(tmp_path, changes, words):
    write(tmp_path, **changes)
    with pytest.raises(InputError, match=words) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_no_folder_of_nnunet(tmp_path):
    with pytest.raises(InputError, match=r"plans.json: cannot be read .*name nnU-Net's folder"):
        load(tmp_path)
    write(tmp_path)
    with pytest.raises(InputError, match="no configuration '2D'; did you mean '2d'"):
        load(tmp_path, arguments={"configuration": "2D"})
    (tmp_path / "dataset.json").write_text("[1]")
    with pytest.raises(InputError, match="must hold an object"):
        load(tmp_path)
    for text in ("[" * 100_000, '{"labels": {}, "labels": {}}'):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(InputError, match="dataset.json: no JSON"):
            load(tmp_path)


def test_a_factory_takes_classes_of_torch_by_name(tmp_path):
    net = write(tmp_path).eval()
    model = load_model(
        ModelConfig(
            source="factory",
            name="dynamic_network_architectures.architectures.unet:PlainConvUNet",
            arguments=KWARGS | {"input_channels": 2, "num_classes": 3},
            weights=str(tmp_path / "fold_0" / "checkpoint_final.pth"),
        ),
        ("a", "b", "c"),
    )
    net.decoder.deep_supervision = False
    images = torch.rand(1, 2, 16, 16)
    torch.testing.assert_close(model(images), net(images))
