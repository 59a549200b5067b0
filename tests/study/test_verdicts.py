"""The rule that each study owns: what makes a concern, and what says nothing."""

import pytest

from conceptseg import catalogue
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.ability.verdict import verdict as ability
from conceptseg.study.ace.naming import by_metadata
from conceptseg.study.ace.verdict import out_of_reach
from conceptseg.study.ace.verdict import verdict as ace
from conceptseg.study.actmax.verdict import verdict as actmax
from conceptseg.study.audit.verdict import verdict as audit
from conceptseg.study.bottleneck.verdict import verdict as bottleneck
from conceptseg.study.counterfactual.verdict import verdict as counterfactual
from conceptseg.study.deepdream.verdict import verdict as deepdream
from conceptseg.study.dictionary.verdict import verdict as dictionary
from conceptseg.study.diff.verdict import verdict as diff
from conceptseg.study.dissect.verdict import verdict as dissect
from conceptseg.study.examples.verdict import verdict as examples
from conceptseg.study.graph.verdict import verdict as graph
from conceptseg.study.landmarks.verdict import verdict as landmarks
from conceptseg.study.language.verdict import verdict as language
from conceptseg.study.lcrp.verdict import verdict as lcrp
from conceptseg.study.noise.verdict import verdict as noise
from conceptseg.study.permutation.verdict import verdict as permutation
from conceptseg.study.prototypes.verdict import verdict as prototypes
from conceptseg.study.saliency.verdict import verdict as saliency
from conceptseg.study.segnbdt.verdict import verdict as segnbdt


def result(study, notes=None, findings=(), **tables):
    return Result(
        study, findings, {k: Table(rows) for k, rows in tables.items()}, notes=notes or {}
    )


@pytest.mark.parametrize("study", catalogue.names("study"))
def test_every_study_has_a_rule(study):
    kind = catalogue.load("study", study)
    assert kind.verdict.__func__ is catalogue.load("study", "ace").verdict.__func__
    __import__(f"conceptseg.study.{study}.verdict")


def use(context=True, used=True, verdict="used"):
    row = {"class": "car", "concept": 1, "used": used, "from_context": context, "verdict": verdict}
    return row


CONCEPTS = [{"concept": 1, "given": "", "word": "brick"}]


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ([use(), use(False)], "concern"),
        ([use(False)], "none shown"),
        ([use(None)], "cannot tell"),
        ([use(None), use(None), use(False)], "cannot tell"),  # most are not decided
        ([use(None), use(False)], "none shown"),
        ([use(None, False, "inconclusive")], "none shown"),
        ([use(None, False, "not testable"), use(None, False, "underpowered")], "cannot tell"),
        ([], "cannot tell"),
    ],
)
def test_ace(pairs, status):
    found = ace(result("ace", pairs=pairs, concepts=CONCEPTS))
    assert found.status == status
    if status == "concern":
        assert 'car by "brick" (concept 1)' in found.sentence
    if pairs == [use(None), use(False)]:
        told = (
            "of 2 pairs of class and concept 2 were shown to be used at all; of these, whether one"
        )
        assert f"{told} does so stays open" in found.sentence
    if pairs == [use(None)]:
        assert found.sentence.startswith("Of 1 use, whether it acts from outside of the class's")
        assert found.advice.startswith("Give more images, or name the context")
    if len(pairs) == 3:
        assert "Of 3 uses, whether 2 of them act from outside" in found.sentence


def test_ace_names_another_layer_where_its_own_reaches_little():
    notes = {"layer": "body", "reach_px": 34.0, "spared_px": 20, "outside_layer": None}
    rows = [{**use(None), "reached": 0.6}]
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes))
    assert found.status == "cannot tell"
    assert found.advice.startswith("Choose a layer before it (`conceptseg layers`). Give more")


@pytest.mark.parametrize(
    ("loss", "p", "status"),
    [
        (-0.3, 0.12, "cannot tell"),  # most of what there is, and random directions do the same
        (-0.2, 0.12, "none shown"),
        (-0.3, 0.04, "none shown"),  # fails by another part of the criterion
        (0.3, 0.12, "none shown"),
    ],
)
def test_ace_of_a_layer_that_holds_little_else(loss, p, status):
    row = use(None, False, "below the criterion")
    rows = [{**row, "loss": loss, "to_lose": 0.5, "p_random": p}, use(False)]
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS))
    assert found.status == status
    if status == "cannot tell":
        assert 'Car without "brick" (concept 1)' in found.sentence and "audit" in found.advice


@pytest.mark.parametrize(
    ("uses", "reach", "status"),
    [
        ([0.2, 0.1, 0.9], None, "cannot tell"),  # of most uses nothing could have remained
        ([0.2, 0.9, 0.9], 3.0, "none shown"),
        ([], 3.0, "cannot tell"),
        ([], 30.0, "none shown"),
        ([], None, "none shown"),  # everywhere
    ],
)
def test_ace_of_a_layer_behind_which_little_is_looked_at(uses, reach, status):
    rows = [{**use(False), "reached": share} for share in uses]
    rows = rows or [use(None, False, "inconclusive")]
    notes = {"layer": "decoder", "reach_px": reach, "spared_px": 20}
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes))
    assert found.status == status
    if status == "cannot tell":
        assert "decoder" in found.sentence and "audit" in found.advice
    said = out_of_reach(notes)
    assert bool(said) is (reach == 3.0)
    if said:
        assert "3 px away at most" in said and "20 px around" in said
    acting = [*rows, {**use(), "reached": 0.1}]
    assert ace(result("ace", pairs=acting, concepts=CONCEPTS, notes=notes)).status == "concern"


@pytest.mark.parametrize("own", [0.95, None])
def test_ace_names_the_layer_at_which_more_could_be_told(own):
    other = {"layer": "encoder.layer4", "worth": 0.813, "own_worth": own, "reach_px": 160.0}
    notes = {"layer": "decoder", "reach_px": 2.0, "spared_px": 20, "outside_layer": other}
    rows = [use(None, False, "inconclusive")]
    advice = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes)).advice
    assert "--set layer=encoder.layer4" in advice and "160 px away" in advice
    assert ("worth 0.81 to the decision, 0.95 here" in advice) is (own is not None)
    notes["outside_layer"] = None
    advice = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes)).advice
    assert advice.startswith("Choose a layer before it (`conceptseg layers`), or name")


@pytest.mark.parametrize(("hidden", "advice"), [(1.3, "another layer"), (0.4, "more images")])
def test_ace_says_why_nothing_could_be_shown(hidden, advice):
    rows = [{**use(None, False, "underpowered"), "hidden": hidden, "to_lose": 1.0}] * 3
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS))
    assert found.status == "cannot tell"
    assert ("layer that holds more" in found.advice) is (advice == "another layer")
    assert ("more images" in found.advice) is (advice == "more images")


def context(verdict, effect=0.3):
    ends = {"low": effect - 0.1, "high": effect + 0.1}
    return {"class": "car", "context": "road", "verdict": verdict, "effect": effect} | ends


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        ([context("confirmed"), context("no reliance shown")], "concern", "car on road (+"),
        (
            [context("behaviour only", -0.3)],
            "concern",
            "car on the absence of road (-0.30 [-0.40, -0.20] IoU)",
        ),
        ([context("no reliance shown"), context("underpowered")], "none shown", "1 pair of 2 stay"),
        ([context("underpowered")], "cannot tell", "1 stay open"),
        ([context("attribution only")], "none shown", "No class"),
    ],
)
def test_audit(rows, status, words):
    parts = [{"class": "car", "context": "road", "p": 0.5}]
    found = audit(result("audit", {"delta": 0.02}, verdicts=rows, parts=parts))
    assert found.status == status and words in found.sentence


@pytest.mark.parametrize(("p", "cure"), [(None, "name fewer contexts"), (0.5, "Give more images")])
def test_an_audit_says_what_would_decide(p, cure):
    parts = [{"class": "car", "context": "road", "p": p}]
    found = audit(result("audit", verdicts=[context("underpowered")], parts=parts))
    assert found.status == "cannot tell" and cure in found.advice


def test_an_audit_says_where_not_to_use_the_network():
    rows = [context("confirmed"), context("confirmed", -0.3) | {"class": "bus"}]
    found = audit(result("audit", verdicts=rows, parts=[]))
    assert "where there is car without that context or bus with that context." in found.advice
    only = audit(result("audit", verdicts=rows[1:], parts=[]))
    assert "where there is bus with that context." in only.advice


def test_an_audit_that_cannot_tell_names_the_pair_that_fewest_images_would_decide():
    parts = [{"class": "car", "context": "road", "p": 0.5}]
    nearest = context("underpowered", -0.07) | {"class": "bus", "needed": 44}
    rows = [context("underpowered") | {"needed": 300}, nearest]
    rows += [context("underpowered") | {"needed": None}]
    found = audit(result("audit", verdicts=rows, parts=parts))
    told = "bus with and without road, -0.07 [-0.17, +0.03] IoU, which about 44 images"
    assert found.status == "cannot tell" and told in found.sentence and "300" not in found.sentence


def spoilt(kind, outside, covered, images=40, true=0.1, predicted=0.9):
    return {
        "kind": kind,
        "images": images,
        "outside": outside,
        "covered": covered,
        "quality": true,
        "predicted": predicted,
    }


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (spoilt("dark", 0.08, 0.0), "concern"),
        (spoilt("dark", 1.0, None), "none shown"),
        (spoilt("dark", 0.95, 0.5), "none shown"),  # two images say nothing
        (spoilt("dark", 0.0, 0.9), "none shown"),
        (spoilt("dark", 0.0, 0.0, true=0.9, predicted=0.1), "none shown"),  # it is too careful
        (spoilt("as it is", 0.0, 0.0), "none shown"),
    ],
)
def test_bottleneck(row, status):
    standing = [{"r2": 0.5, "r2_low": 0.2}]
    found = bottleneck(result("bottleneck", {"coverage": 0.9}, shift=[row], standing=standing))
    assert found.status == status
    if status == "concern":
        assert found.sentence.startswith("Dark images")


def test_bottleneck_that_predicts_nothing_or_was_not_tried():
    fine = [spoilt("dark", 1.0, None)]
    useless = [{"r2": 0.1, "r2_low": -0.2}]
    notes = {"coverage": 0.9}
    found = bottleneck(result("bottleneck", notes, shift=fine, standing=useless))
    assert found.status == "cannot tell"
    assert bottleneck(result("bottleneck", notes, shift=[])).status == "cannot tell"


def test_bottleneck_claims_nothing_that_its_test_did_not_show():
    rows = [spoilt("blur", 0.6, 0.7), spoilt("noise", 0.9, None)]
    standing = [{"r2": 0.4, "r2_low": 0.1}]
    found = bottleneck(result("bottleneck", {"coverage": 0.8}, shift=rows, standing=standing))
    assert found.status == "none shown" and "was shown to pass" in found.sentence
    assert "turned away" not in found.sentence and "holds" not in found.sentence


@pytest.mark.parametrize(
    ("p", "agreement", "moved", "status"),
    [
        (0.5, 0.99, True, "cannot tell"),
        (0.01, 0.5, True, "cannot tell"),
        (0.01, 0.99, True, "concern"),
        (0.01, 0.99, False, "none shown"),
    ],
)
def test_a_tree_no_better_than_random_is_not_to_be_read(p, agreement, moved, status):
    from conceptseg.study.segnbdt.columns import KNOWN

    fidelity = [{"decided_by": "tree, hard", "agreement": agreement}]
    parts = [{"part": KNOWN, "branch": "car", "p_holm": 0.01 if moved else 0.4}]
    found = segnbdt(result("segnbdt", {"p_random": p}, fidelity=fidelity, parts=parts))
    assert found.status == status
    if status == "none shown":
        for rows, why in (([], "names none"), ([{**parts[0], "p_holm": None}], "be tested")):
            unasked = segnbdt(result("segnbdt", {"p_random": p}, fidelity=fidelity, parts=rows))
            assert unasked.status == "cannot tell" and why in unasked.sentence


def test_dissect_asks_for_context_alone():
    concepts = [
        {"concept": "known context", "category": "context"},
        {"concept": "red", "category": "colour"},
    ]

    def verdict(*losses, known=concepts):
        rows = [{"class": "car", "concept": c, "used": u, "verdict": v} for c, u, v in losses]
        return dissect(result("dissect", losses=rows, concepts=known))

    def said(*losses):
        return verdict(*losses).status

    unasked = verdict(("red", True, "used"), known=concepts[1:])
    assert unasked.status == "cannot tell" and "that car uses units of red." in unasked.sentence
    assert "audit" in unasked.advice
    unasked = verdict(("red", False, "inconclusive"), known=concepts[1:])
    assert unasked.status == "cannot tell" and "uses units of" not in unasked.sentence
    assert said(("red and known context", True, "used")) == "concern"
    assert said(("red", True, "used")) == "none shown"
    assert said(("known context", False, "inconclusive")) == "none shown"
    assert said(("known context", False, "not testable")) == "cannot tell"
    assert said() == "cannot tell"


@pytest.mark.parametrize(
    ("blind", "others", "status", "words"),
    [
        (3, 9, "cannot tell", "Of 3 pairs of class and context, 3 could hardly"),
        (2, 9, "cannot tell", "Of 3 pairs of class and context, 2 could hardly"),
        (1, 0, "none shown", "Of 3 pairs of class and context, 1 could hardly"),
        (0, 0, "none shown", "No class was shown to use units of context (shade)."),
    ],
)
def test_dissect_counts_what_could_be_told_of_context_alone(blind, others, status, words):
    """Pairs of class and colour could all have been shown; they say nothing of context."""
    concepts = [{"concept": "shade", "category": "context"}]
    row = {"class": "car", "used": False, "verdict": "inconclusive"}
    shade = {**row, "concept": "shade", "of_context": True}
    rows = [{**shade, "verdict": "underpowered"}] * blind + [shade] * (3 - blind)
    rows += [{**row, "concept": "blue", "of_context": False}] * others
    found = dissect(result("dissect", losses=rows, concepts=concepts))
    assert found.status == status and words in found.sentence


def test_dissect_knows_context_among_three_concepts_of_the_same_units():
    concepts = [{"concept": "shade", "category": "context"}]
    row = {"class": "car", "used": True, "verdict": "used", "units": 8}
    merged = {**row, "concept": "blue, shade and flat"}
    for own in (merged, {**merged, "of_context": True}):  # of earlier versions, and of this one
        found = dissect(result("dissect", losses=[own], concepts=concepts))
        assert found.status == "concern" and "car by blue, shade and flat" in found.sentence
    named = {**row, "concept": "shade and sun", "of_context": False}
    assert dissect(result("dissect", losses=[named], concepts=concepts)).status == "none shown"


def test_dissect_says_whether_units_detect_context_or_but_overlap_it():
    row = {"concept": "shade", "used": True, "verdict": "used", "of_context": True, "units": 9}
    rows = [{**row, "class": "car", "detecting": 5}, {**row, "class": "bus", "detecting": 4}]
    concepts = [{"concept": "shade", "category": "context"}]

    def said(*own):
        return dissect(result("dissect", losses=own, concepts=concepts)).sentence

    assert said(rows[0]) == "Classes use units that detect context (car by shade)."
    assert said(rows[1]) == "Classes use units that overlap context (bus by shade)."
    both = "detect context (car by shade), and units that overlap context (bus by shade)."
    assert said(*rows).endswith(both)


@pytest.mark.parametrize(("detectors", "status"), [(0, "none shown"), (None, "cannot tell")])
def test_dissect_where_no_unit_detects_context(detectors, status):
    """Nothing was ablated for it; with too few images, no unit was compared with it either."""
    concepts = [{"concept": "shade", "category": "context", "detectors": detectors}]
    rows = [{"class": "car", "concept": "blue", "used": True, "verdict": "used"}]
    found = dissect(result("dissect", losses=rows, concepts=concepts))
    assert (
        found.status == status and "No unit was shown to detect context (shade)" in found.sentence
    )


def test_lcrp_counts_what_maps_do_not_show_as_well():
    def said(acts, verdict, *sensitivity):
        scores = [{"class": "car", "acts": acts, "verdict": verdict}]
        classes = [
            {"class": f"c{i}", "sensitivity": s, "context": 0.1} for i, s in enumerate(sensitivity)
        ]
        return lcrp(result("lcrp", scores=scores, classes=classes))

    assert said(True, "acts", 0.1, 0.1).status == "concern"
    hidden = said(False, "less than chance", 0.98, 0.1)
    assert hidden.status == "concern" and "c0" in hidden.sentence
    assert said(False, "less than chance", 0.1, 0.1).status == "none shown"
    assert said(False, "cannot be told", 0.1, 0.1).status == "cannot tell"


@pytest.mark.parametrize(
    ("p", "low", "status"),
    [(0.01, 0.5, "concern"), (0.01, 0.1, "none shown"), (0.4, 0.5, "none shown"),
     (None, 0.5, "cannot tell")],
)  # fmt: skip
def test_deepdream(p, low, status):
    rows = [{"path": "car is to vanish", "p_holm": p, "low": low}]
    assert deepdream(result("deepdream", outside=rows)).status == status


def method(name, effect_name, method="rise"):
    return Finding(
        claim=name, n=9, evidence="x", details={"effect_name": effect_name, "method": method}
    )


@pytest.mark.parametrize(
    ("chance", "said"),
    [(None, "names no context"), (float("nan"), "names no context"), (0.5, "No metric asked")],
)
def test_saliency_says_whether_data_or_metrics_ask_of_no_context(chance, said):
    notes = {"metrics": ["deletion"], "chance": chance}
    rows = [{"method": "a", "family": "CAM"}]
    found = saliency(result("saliency", notes, methods=rows))
    assert found.status == "cannot tell" and said in found.sentence


def test_saliency_believes_no_method_that_is_blind_to_weights():
    blind = method("b", "randomisation: rank correlation with the shuffled network's map")
    sees = method("s", "CBL above chance")
    rows = [{"method": "rise", "family": "perturbation"}, {"method": "m", "family": "baseline"}]

    def said(*findings, metrics=("cbl",)):
        notes = {"metrics": list(metrics)}
        return saliency(result("saliency", notes, findings, methods=rows)).status

    assert said(sees) == "concern"
    assert said(sees, blind) == "cannot tell"
    assert said() == "none shown"
    assert said(metrics=()) == "cannot tell"


@pytest.mark.parametrize(
    ("least", "chance", "status", "words"),
    [
        ([0.25, 1.0], 0.3, "cannot tell", "too few cases for a test (4)"),
        ([0.25, 0.04], 0.3, "none shown", "No method was shown"),
        ([], 0.3, "cannot tell", "too few cases"),
        ([], None, "cannot tell", "names no context"),
    ],
)
def test_saliency_cannot_tell_where_no_method_could_have_passed(least, chance, status, words):
    against = [{"method": "a", "reference": "chance", "p_least": p} for p in least]
    against += [{"method": "a", "reference": "random_map", "p_least": 0.001}]
    notes = {"metrics": ["cbl"], "chance": chance, "cases": 4}
    rows = [{"method": "a", "family": "CAM"}]
    found = saliency(result("saliency", notes, methods=rows, against=against))
    assert found.status == status and words in found.sentence
    assert ("at least" in found.advice) == ("too few" in words)


def test_ability():
    lost = Finding(
        claim="c", n=9, evidence="levels", by="test", p_adjusted=0.01, details={"layer": "body"},
        **{"class": "car"},
    )  # fmt: skip

    def said(doubt, *findings):
        return ability(result("ability", None, findings, classes=[{"doubt": doubt}]))

    assert said("", lost).status == "concern" and "car after body" in said("", lost).sentence
    assert said("").status == "none shown" and said("few").status == "cannot tell"


@pytest.mark.parametrize(
    ("doubt", "forgotten", "chance", "words"),
    [
        ("", 23, [150, 23, 4], "output; 23 of 150 objects were seen by a layer and lost by the"),
        ("few", 1, [90, 1, 2], "reported; 1 of 90 objects was seen by a layer and lost by the"),
        ("", 6, [0, 0, 0], "; 6 objects were seen"),  # there was no shuffled network
        ("", 0, [90, 0, 2], None),
    ],
)
def test_ability_says_how_many_objects_a_layer_saw_and_the_output_lost(
    doubt, forgotten, chance, words
):
    notes = {"forgotten": forgotten, "chance": chance}
    found = ability(result("ability", notes, classes=[{"doubt": doubt}]))
    assert (words or "by the output.") in found.sentence
    by_chance = f"({chance[2]} by chance, in a shuffled network)." in found.sentence
    assert by_chance is bool(forgotten and chance[0])
    assert ("forgotten objects" in found.advice) is bool(forgotten and not doubt)


def test_studies_that_ask_something_else_cannot_tell():
    rows = [{"scheme": "swap", "class": "all classes", "part": "phase", "p_adjusted": 0.01,
             "value": 0.3, "low": 0.2}]  # fmt: skip
    found = permutation(result("permutation", importance=rows))
    assert found.status == "cannot tell" and "own phase" in found.sentence
    found = actmax(result("actmax", units=[{"verdict": "representative"}, {"verdict": "dead"}]))
    assert found.status == "cannot tell" and found.sentence.startswith("1 of 2 pictures")


def pictured(*findings, **words):
    """Of each word so many pictures, spaces as underlines."""
    rows = [{"verdict": word.replace("_", " ")} for word, n in words.items() for _ in range(n)]
    found = actmax(result("actmax", None, findings, units=rows))
    assert found.status == "cannot tell"
    return found


def test_pictures_that_could_not_be_judged_are_counted_with_what_would_help():
    found = pictured(not_testable=9)
    assert found.sentence.startswith("9 of 9 pictures could not be judged one by one (of 9 too few")
    assert "resemble" not in found.sentence and "that passed" not in found.advice
    assert "`compared`" in found.advice
    found = pictured(not_testable=2, not_started=5, beyond_the_data=1)
    assert found.sentence.startswith("7 of 8") and "of 5 the ascent found no" in found.sentence
    assert "`steps`" in found.advice and "`compared`" not in found.advice
    found = pictured(representative=2, not_testable=3)
    assert "2 of 5 pictures may be read" in found.sentence and "3 could not" in found.sentence
    assert "that passed" in found.advice


def test_pictures_that_were_judged_and_did_not_pass_are_not_to_be_read():
    found = pictured(beyond_the_data=4, not_testable=1)
    assert found.sentence.startswith("None of 5 pictures was shown to resemble")
    assert "; 1 could not be judged (of 1 too few" in found.sentence
    assert "that passed" not in found.advice and "Do not take a picture" in found.advice


@pytest.mark.parametrize(("effect", "said"), [(0.2, True), (-0.2, False)])
def test_pictures_that_resemble_their_images_on_average_are_said_to(effect, said):
    average = shown("test", effect).model_copy(update={"evidence": "likeness"})
    assert ("on average" in pictured(average, not_testable=6).sentence) is said


def row(value, share=0.9, all_=0.2, p=0.001, concept=1):
    return {"value": value, "share_in_concept": share, "share_in_all": all_, "p_adjusted": p,
            "concept": concept}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "seen", "word"),
    [
        ([row("True"), row("brick", p=0.01)], "ground (100%)", "brick"),
        ([row("3.0"), row("-1"), row("nan")], "ground (100%)", None),
        ([row("320x256"), row("1024 × 768")], "ground (100%)", None),
        ([row("brick", share=0.5)], "ground (100%)", None),
        ([row("brick", all_=0.6)], "ground (100%)", None),
        ([row("brick", p=0.2)], "ground (100%)", None),
        ([row("brick")], "car (60%), ground (40%)", None),  # it lies on an object
        ([row("brick", p=0.01), row("grass", p=0.001)], "ground (70%), car (30%)", "grass"),
    ],
)
def test_a_concept_is_called_by_what_its_images_have_in_common(rows, seen, word):
    assert by_metadata(rows, {1: seen}, "ground").get(1) == word


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_examples_that_stand_for_errors_are_a_concern():
    def said(difference, *findings):
        rows = [{"class": "car", "difference": difference}]
        return examples(result("examples", None, findings, foretell=rows))

    found = said(0.1, shown("test", 0.3))
    assert found.status == "concern" and "car" in found.sentence
    assert said(0.1, shown("interval", 0.3)).status == "concern"
    assert said(-0.1, shown("interval", -0.3, (-0.5, -0.1))).status == "none shown"
    assert said(0.1).status == "none shown" and said(None).status == "cannot tell"


def test_neighbours_that_warn_are_said_to_rank_and_not_how_often_objects_are_wrong():
    rows = [{"class": "car", "difference": 0.17}]
    found = examples(result("examples", None, [shown("interval", 0.17)], foretell=rows))
    assert "ranks wrong objects above right ones" in found.sentence
    assert "often" not in found.sentence
    nothing = examples(result("examples", foretell=rows)).sentence
    assert "nor nearness to wrong examples to rank wrong objects better" in nothing


def test_ways_of_deciding_that_err_are_a_concern():
    def said(*findings, outliers=0, p=0.9):
        rows = {"prototypes": [{"p_adjusted": p}], "foretell": [{"p": p}]}
        return prototypes(result("prototypes", {"outliers": outliers}, findings, **rows))

    def fault(evidence, wrong=True):
        return shown("test", 0.3).model_copy(update={"fault": wrong, "evidence": evidence})

    found = said(fault("standing"))
    assert found.status == "concern" and "others: car." in found.sentence
    assert said(fault("rare")).status == "concern"
    assert said(fault("standing", wrong=False)).status == "none shown"
    assert said(outliers=1).sentence.startswith("1 region is decided")
    assert said(outliers=2).status == "cannot tell" and said(p=None).status == "cannot tell"
    assert said().status == "none shown"


def test_a_dictionary_that_undoes_failures_is_a_concern():
    def said(regained, recovers=True, kind="test"):
        finding = shown(kind, 0.5).model_copy(update={"fault": True})
        finding = finding.model_copy(update={"details": {"regained": regained}})
        rows = [{"class": "car", "name": "atom 3 (wire)"}]
        return dictionary(result("dictionary", {"recovers": recovers}, [finding], repairs=rows))

    found = said(0.9)
    assert found.status == "concern" and "car on atom 3 (wire)" in found.sentence
    assert said(0.1).status == "cannot tell" and "no single atom" in said(0.1).sentence
    assert "do not rebuild" in said(0.9, recovers=False).sentence
    nothing = dictionary(result("dictionary", {"recovers": True}, repairs=[]))
    assert nothing.status == "cannot tell" and "No class fails" in nothing.sentence


def test_a_checkpoint_that_drifted_is_a_concern():
    def said(*findings, p=0.9, seeds=2):
        rows = [{"p_adjusted": p}]
        return diff(result("diff", {"seeds": seeds}, findings, classes=rows, shifts=rows))

    found = said(shown("test", -0.3, (-0.5, -0.1)), seeds=0)
    assert found.status == "concern" and "became worse: IoU of car fell." in found.sentence
    assert "is not known" in found.advice
    assert "is not known" not in said(shown("test", -0.3, (-0.5, -0.1))).advice
    assert said().status == "none shown" and said(p=None).status == "cannot tell"


@pytest.mark.parametrize(
    ("effects", "status", "words"),
    [
        ({"iou": 0.4}, "none shown", "Other changes: IoU of car rose."),
        ({4: 0.2}, "none shown", "Other changes: less is owed to concepts, by car to concept 4"),
        ({4: -0.2}, "concern", "more is owed to concepts, by car to concept 4 (road)."),
        ({5: -0.2}, "none shown", "more is owed to concepts, by car to concept 5 (car)."),
        ({"iou": 0.4, 4: -0.2}, "concern", "(road). Other changes: IoU of car rose."),
        ({"iou": -0.4, 4: 0.2}, "concern", "IoU of car fell. Other changes: less is owed"),
    ],
)
def test_only_what_became_worse_is_a_concern(effects, status, words):
    """IoU that fell, and what is owed to concepts that do not lie on the class itself."""
    findings = []
    for key, effect in effects.items():
        details = {} if key == "iou" else {"concept": key}
        one = shown("test", effect, (effect - 0.05, effect + 0.05))
        findings.append(one.model_copy(update={"details": details}))
    rows = [{"p_adjusted": 0.01}]
    names = {4: "road", 5: "car"}
    concepts = [{"concept": n, "name_after": name} for n, name in names.items()]
    shifts = [{"concept": n, "name": f"concept {n} ({name})"} for n, name in names.items()]
    shifts = [{**row, "p_adjusted": 0.01} for row in shifts]
    tables = {"classes": rows, "shifts": shifts, "concepts": concepts}
    found = diff(result("diff", {"seeds": 2}, findings, **tables))
    assert found.status == status and words in found.sentence
    open_ones = {**tables, "classes": [{"p_adjusted": None}]}
    unsure = diff(result("diff", {"seeds": 2}, findings, **open_ones))
    assert unsure.status == ("concern" if status == "concern" else "cannot tell")


def test_landmarks_ask_something_else():
    found = landmarks(result("landmarks", None, [shown("interval", 0.4)]))
    assert found.status == "cannot tell" and "structures of car" in found.sentence
    assert "No class" in landmarks(result("landmarks")).sentence


def test_landmarks_name_the_classes_whose_structures_attribution_keeps_off():
    off = shown("test", -0.8, (-1.1, -0.4)).model_copy(update={"class_": "pole"})
    found = landmarks(result("landmarks", None, [off])).sentence
    assert found.startswith("No class was shown to be followed along its structures; attribution")
    assert "keeps off those of pole;" in found
    both = landmarks(result("landmarks", None, [shown("test", 0.4), off])).sentence
    assert "follows the structures of car and keeps off those of pole;" in both
    unsure = off.model_copy(update={"p_adjusted": 0.3})
    assert "keeps off" not in landmarks(result("landmarks", None, [unsure])).sentence


@pytest.mark.parametrize(("last", "beats"), [(0.2, True), (-0.2, False)])
def test_noise_asks_something_else_and_says_whether_its_maps_may_be_read(last, beats):
    rows = [
        {"class": "car", "difference": d, "p_adjusted": p}
        for d, p in ((0.3, 0.01), (last, 0.01), (-0.4, None))  # the last one is not tested
    ]
    found = noise(result("noise", {"visible": 0.5}, against=rows))
    assert found.status == "cannot tell"
    assert ("keeps more of car" in found.sentence) == beats
    assert ("Do not read" in found.advice) != beats


@pytest.mark.parametrize(
    ("own", "low", "p", "images", "status"),
    [
        (False, 0.6, 0.01, 20, "concern"),
        (False, 0.6, 0.2, 20, "cannot tell"),
        (False, 0.6, None, 20, "cannot tell"),
        (False, 0.1, 0.01, 20, "none shown"),
        (True, 0.9, 0.01, 20, "cannot tell"),
        (False, None, None, 3, "cannot tell"),
    ],
)
def test_counterfactuals_of_what_lies_around_are_a_concern(own, low, p, images, status):
    row = {"class": "car", "region": "road", "own": own, "share_low": low, "images": images}
    found = counterfactual(result("counterfactual", None, regions=[{**row, "p_corrected": p}]))
    assert found.status == status
    assert status != "concern" or "car by road" in found.sentence
    assert "elsewhere" not in found.sentence or (p != 0.01 and "car by road" in found.sentence)


def test_graphs_count_what_holds_and_judge_nothing():
    def said(confirmed):
        notes = {"confirmed": confirmed, "specific": 1, "tested": 7}
        return graph(result("graph", notes))

    assert said(1).sentence.startswith("1 edge of 7") and said(0).sentence.startswith("None of 7")
    assert said(1).status == said(0).status == "cannot tell"


def test_a_language_is_more_than_a_code_only_if_it_tells_more():
    def said(effect, ci):
        one = shown("interval", effect, ci).model_copy(update={"evidence": "codes"})
        found = language(result("language", {"rival": "product code"}, [one]))
        assert found.status == "cannot tell"
        return found.sentence

    assert "tell more" in said(0.1, (0.05, 0.2))
    assert "not shown to tell more, or less, of attributes than product" in said(0.1, (-0.1, 0.2))
    assert "tell less of attributes" in said(-0.1, (-0.2, -0.05))
