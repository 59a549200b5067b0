"""What is a concern of language, and what says nothing."""

from conceptseg.result.finding import Finding
from conceptseg.study.language.verdict import verdict as language
from tests.study.verdicts import result


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_a_language_is_more_than_a_code_only_if_it_tells_more():
    def said(effect, ci):
        one = shown("interval", effect, ci).model_copy(update={"evidence": "codes"})
        found = language(result("language", {"rival": "product code"}, [one]))
        assert found.status == "cannot tell"
        return found.sentence

    assert "tell more" in said(0.1, (0.05, 0.2))
    assert "not shown to tell more, or less, of attributes than product" in said(0.1, (-0.1, 0.2))
    assert "tell less of attributes" in said(-0.1, (-0.2, -0.05))
