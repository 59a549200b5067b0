"""What is a concern of graph, and what says nothing."""

from conceptseg.study.graph.verdict import verdict as graph
from tests.study.verdicts import result


def test_graphs_count_what_holds_and_judge_nothing():
    def said(confirmed):
        notes = {"confirmed": confirmed, "specific": 1, "tested": 7}
        return graph(result("graph", notes))

    assert said(1).sentence.startswith("1 edge of 7") and said(0).sentence.startswith("None of 7")
    assert said(1).status == said(0).status == "cannot tell"
