"""What speaks against maps, counted by method: of a network in which relevance is made of terms
that cancel, by one composite and not by others."""

import torch
from torch import nn

from conceptseg.result.saved import Result
from conceptseg.study.saliency.report import compose
from conceptseg.study.saliency.tables import remark_table, remarked
from tests.study.ace.test_study import BarNet
from tests.study.saliency.made import judged
from tests.study.saliency.test_study import run, write

CANCELS = {"kind": "lrp", "composite": "epsilon"}


class Cancelling(BarNet):
    """Logits without biases, from brightness as 20 times itself less 19 times itself."""

    def __init__(self):
        super().__init__()
        self.up, self.down = (nn.Conv2d(3, 1, 1, bias=False) for _ in range(2))
        with torch.no_grad():
            self.up.weight.fill_(20 / 3)
            self.down.weight.fill_(-19 / 3)
            self.head.bias.zero_()  # whose share of relevance would be growth of another kind

    def forward(self, images):
        everywhere = self.pooled(self.body(images)).expand(-1, -1, *images.shape[-2:])
        return self.head(torch.cat([everywhere, self.up(images) + self.down(images)], 1))


def test_remarks_stand_in_the_tables(tmp_path):
    methods = [CANCELS, {"kind": "lrp", "composite": "plus"}, "seg_grad_cam"]
    study = write(
        tmp_path,
        model={"source": "factory", "name": "tests.study.saliency.test_remarks:Cancelling"},
        compare=methods,
        metrics=["deletion"],
        primary="deletion",
        images=4,
        gallery=1,
    )
    result, _ = run(study, tmp_path / "out")
    (row,) = result["tables"]["remarks"]["rows"]
    assert row["method"] == "lrp (composite epsilon)"
    # Both terms end at one pixel, where their relevance is one again.
    assert row["remark"] == "growth within" and row["maps"] == row["of"] == 4
    assert "magnified inside the network" in row["in the first of them"]
    told = {row["method"]: row["remarks"] for row in result["tables"]["methods"]["rows"]}
    assert told == {
        "lrp (composite epsilon)": f"{row['remark']} (4)",
        "lrp (composite plus)": "",
        "seg_grad_cam": "",
    }
    each = [
        r["remarks"] for r in result["tables"]["values"]["rows"] if r["method"] == row["method"]
    ]
    assert each == [[row["remark"]]] * 4
    report = compose(Result.load(tmp_path / "out"))
    assert f"lrp (composite epsilon): {row['remark']} (4)" in report.lead


def test_they_are_counted_by_kind_and_cures_are_none():
    made = judged([[0.0, 0.0]] * 3, ["deletion"], ["seer", "tracer"])
    dots, cure = {"dots on a grid": "half"}, {"what else to try": "plus"}
    made.remarks[:] = [[dots | cure, {}], [{"growth": "28 times"} | cure, {}], [dots, {}]]
    assert {kind: len(texts) for kind, texts in remarked(made, 0).items()} == {
        "dots on a grid": 2,
        "growth": 1,
    }
    assert remarked(made, 1) == {}
    assert [(r["method"], r["maps"], r["of"]) for r in remark_table(made).rows] == [
        ("seer", 2, 3),
        ("seer", 1, 3),
    ]
