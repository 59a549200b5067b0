"""Explicit attacks on maps in the gallery: what they reach, where they cannot, what is shown."""

from pathlib import Path

import numpy as np
import pytest

from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from conceptseg.study.saliency.attack import Attack
from conceptseg.study.saliency.config import Saliency
from tests.explain.metrics.judging import additive
from tests.small_models import images, unet
from tests.study.saliency.test_study import run, write

ATTACK = {"attack_steps": 6, "attack_epsilon": 0.05, "metrics": ["deletion"], "sanity_images": 0}


def reached(net, x, target, **given):
    keys = {"data": {"manifest": "a.yaml"}, "model": {"source": "planted", "name": "biased"}}
    study = Saliency.model_validate({**keys, **ATTACK, **given})
    return Attack(study)._attacked(Scene(net, x), VanillaSaliency(), target, 0)


def test_a_linear_network_s_gradient_stays_where_it_is():
    target = Target(1, Everything(), "logit")
    found, maps, why = reached(additive(12, 16), images(1, 12, 16, 1), target)
    assert why == "" and np.allclose(found[:3], found[0], atol=1e-6)
    assert found[3] == pytest.approx(0.05 / 2 ** np.round(np.log2(0.05 / found[3])))
    assert np.allclose(maps[0], maps[1], rtol=1e-5)
    by_hand = np.corrcoef(maps[0].ravel(), maps[0][::-1, ::-1].ravel())[0, 1]
    assert found[0] == pytest.approx(by_hand, abs=1e-6)


def test_a_rectifier_s_gradient_is_led_towards_the_goal():
    net, x = unet(), images(1, 24, 32)
    keys = {"attack_steps": 25, "attack_epsilon": 0.002}
    found, maps, why = reached(net, x, Target(1, Everything()), **keys)
    assert why == "" and found[2] >= found[1] and found[2] > found[0] + 0.001
    goal = maps[0][::-1, ::-1]
    assert found[2] == pytest.approx(np.corrcoef(maps[1].ravel(), goal.ravel())[0, 1], abs=1e-6)


def test_a_run_shows_what_attacks_reached(tmp_path):
    out = tmp_path / "out"
    result, _ = run(write(tmp_path, ATTACK), out)
    rows = {row["method"]: row for row in result["tables"]["attack"]["rows"]}
    assert set(rows) == {"seg_grad_cam", "vanilla_saliency", "prediction_mask", "random_map"}
    mask = rows["prediction_mask"]
    assert mask["cases"] == 2 and mask["after"] == pytest.approx(mask["before"], abs=1e-6)
    for row in rows.values():
        assert row["cases"] == 0 or row["after"] >= row["noise"]
        keys = [key for one in row["maps"] for key in one]
        assert all(Path(out, "images", f"{key}.webp").is_file() for key in keys)
    page = Path(out, "report.html").read_text()
    assert "Maps under attack" in page and "6 steps, 0.05 of the images" in page
    loaded = Result.load(out)
    assert "attack" in loaded.tables and "attack" in loaded.notes


def test_without_a_gallery_there_is_nothing_to_attack(tmp_path, capsys):
    study = write(tmp_path, {**ATTACK, "gallery": 0})
    words = ["saliency", "--config", str(study), "--out", str(tmp_path / "out"), "--quiet"]
    assert command.main(words) == 2
    assert "attack_steps: the gallery's cases are attacked, and gallery is 0" in (
        capsys.readouterr().err
    )
