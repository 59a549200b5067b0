import json

import pytest
import torch
import yaml

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

nets = pytest.importorskip("monai.networks.nets")

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": "@channels",
    "out_channels": "@outputs#1",
    "channels": [4, 8],
    "strides": [2],
}
CONFIG = {"channels": 1, "outputs": [7, "@classes"], "classes": 3, "network_def": NETWORK,
          "device": "$torch.device('cuda')"}  # fmt: skip
PARTS = {"0": "background", "1": "spleen", "2": "liver"}
METADATA = {"network_data_format": {"outputs": {"pred": {"channel_def": PARTS}}}}


def write(folder, kind="json", metadata=METADATA, **changes):
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    content = CONFIG | changes
    text = json.dumps(content) if kind == "json" else yaml.safe_dump(content)
    (folder / "configs" / f"inference.{kind}").write_text(text)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.manual_seed(0)
    net = nets.UNet(spatial_dims=2, in_channels=1, out_channels=3, channels=[4, 8], strides=[2])
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    return net.eval()


def load(folder, **options):
    return load_model(ModelConfig(source="monai_bundle", name=str(folder), **options), ())


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_the_folder_is_all_it_takes(tmp_path, kind):
    net = write(tmp_path, kind)
    model = load(tmp_path)
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(model(images), net(images))
    assert model.classes == ("background", "spleen", "liver")
    assert model.channels == 1 and model.origin == "model.pt"


def changed(**arguments):
    return {"network_def": NETWORK | arguments}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (changed(_target_="os.system"), "'os.system', which is not one of monai.networks.nets"),
        (changed(_target_="Unett"), "did you mean 'U"),
        (changed(strides="$__import__('os').system('touch ran')"), "would have to be run; give"),
        (changed(act={"_target_": "torch.nn.ReLU"}), "'a torch.nn.ReLU', which would have to"),
        (changed(channels="@no#where"), "'@no#where' leads nowhere"),
        (changed(channels="@ring") | {"ring": "@ring"}, "lead in a circle"),
        (changed(spatial_dims=3), "3 dimensions, not two"),
        ({"network_def": "@net"}, "has no network_def"),
        ({"preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "monai.transforms.ScaleIntensityRanged", "keys": "image"}]}},
         r"changes intensities \(ScaleIntensityRanged\); say it in model.preprocessing"),
    ],
)  # fmt: skip
def test_refused(tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, **changes)
    with pytest.raises(InputError, match=words) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_read_is_said_in_the_study(tmp_path):
    net = write(tmp_path, **changed(strides="$[2]"),
                preprocessing={"transforms": [{"_target_": "NormalizeIntensityd"}]})  # fmt: skip
    model = load(tmp_path, arguments={"strides": [2]}, preprocessing=Preprocessing())
    images = torch.rand(1, 1, 16, 16)
    assert torch.equal(model(images), net(images))


def test_no_bundle(tmp_path):
    with pytest.raises(InputError, match="no MONAI bundle, which holds configs/inference.json"):
        load(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{")
    with pytest.raises(InputError, match="inference.json: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("yaml", "a: !!bool abc"), ("yaml", "!!int ''"), ("yaml", "[" * 5000), ("yaml", "a: 1\na: 2"),
     ("json", "[" * 100_000), ("json", '{"channels": 1, "channels": 3}')],
)  # fmt: skip
def test_configurations_that_are_none(tmp_path, kind, text):
    write(tmp_path, kind)
    (tmp_path / "configs" / f"inference.{kind}").write_text(text)
    with pytest.raises(InputError, match=f"inference.{kind}") as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)
