"""JUnit files: the elements and attributes of its schema (Jenkins' junit-10.xsd), and no others."""

from xml.etree import ElementTree

from conceptseg.study.command.junit import Case, document, failing

COUNTS = {"tests", "failures", "errors", "skipped"}
SCHEMA = {
    "testsuites": (COUNTS | {"time", "name", "disabled"}, ["testsuite"]),
    "testsuite": (COUNTS | {"name", "time", "hostname", "timestamp", "id"}, ["testcase"]),
    "testcase": (
        {"name", "classname", "time", "assertions", "status"},
        ["skipped", "error", "failure", "system-out", "system-err"],
    ),
    "failure": ({"message", "type"}, []),
    "system-out": (set(), []),
}
"""Element -> its attributes, and its children in their order; names are required where they are."""


def check(element):
    attributes, children = SCHEMA[element.tag]
    assert set(element.attrib) <= attributes, element.tag
    if element.tag in ("testsuite", "testcase"):
        assert element.get("name")
    places = [children.index(child.tag) for child in element]
    assert places == sorted(places)
    for child in element:
        check(child)


CASES = [
    Case("digit 3 <&>", "new", 'digit 3 "leans" on\nbrick & <sand>'),
    Case("nul \x00 \x1b and \ud800", "gone", "\x08 and 中"),
    Case("quiet", "gone", "nothing"),
]


def test_it_obeys_the_schema_and_counts():
    root = ElementTree.fromstring(document("run & all", CASES, ["new"]))
    check(root)
    (suite,) = root
    assert (root.get("tests"), root.get("failures")) == (suite.get("tests"), "1") == ("3", "1")
    first, second, third = suite
    assert first.get("name") == "digit 3 <&>"
    assert first[0].tag == "failure" and first[0].get("type") == "new"
    assert "<sand>" in first[0].get("message")
    assert second[0].tag == third[0].tag == "system-out"
    assert "\x00" not in second.get("name") and "中" in second[0].text


def test_what_fails():
    assert failing(CASES, []) == [] and failing(CASES, ["gone"]) == CASES[1:]
    root = ElementTree.fromstring(document("s", [], ["new"]))
    check(root)
    assert root.get("tests") == "0"
