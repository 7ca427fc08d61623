"""What the documents claim is checked against the code: limits, links, programs and the tests they name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def limits_table() -> str:
    """Return the table of docs/limits.md, made from the fields of `Limits` and their docstrings."""
    tree = ast.parse((ROOT / "src/telex/limits.py").read_text())
    names = {"KIB": "KiB", "MIB": "MiB"}
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Limits")
    rows = ["| field | default | what it bounds |", "|---|---|---|"]
    for field, text in zip(cls.body, cls.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            default = ast.unparse(field.value) if field.value else ""
            default = re.sub(r"(\d+) \* (KIB|MIB)", lambda found: f"{found[1]} {names[found[2]]}", default)
            default = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", " ", default)
            rows.append(f"| `{ast.unparse(field.target)}` | {default} | {' '.join(str(text.value.value).split())} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_limits_is_the_code_s() -> None:
    page = (ROOT / "docs/limits.md").read_text()
    assert limits_table() in page, "run: python -m tests.test_docs"


def test_every_limit_is_crossed_by_a_test() -> None:
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py") if path != Path(__file__))
    fields = re.findall(r"^\| `(\w+)`", limits_table(), re.MULTILINE)
    assert len(fields) > 40
    assert [name for name in fields if not re.search(rf"\b{name}\b", tests)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_plan_of_the_house_names_every_module() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    sections = dict(re.findall(r"^### .*?`(\w+)`.*?\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE))
    assert sections.keys() == {"streams", "websocket", "engineio", "socketio", "sync", "serving"}
    missing = []
    for path in ROOT.glob("src/telex/**/*.py*"):
        module = path.relative_to(ROOT / "src/telex")
        if path.suffix in (".py", ".pyx") and not path.name.startswith("__") and module.parts[0] != "cli":
            name = module.name if len(module.parts) < 3 else f"{module.parts[1]}/"
            if f"`{name}`" not in (page if len(module.parts) == 1 else sections[module.parts[0]]):
                missing.append(str(module))
    assert missing == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\((\w[\w.-]+)\)", index))


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    pages = {path.name for path in ROOT.glob("docs/decisions/0*.md")}
    assert pages == set(re.findall(r"\((0[^)]+)\)", index))


def test_the_features_page_names_tests_that_exist() -> None:
    page = (ROOT / "docs/features.md").read_text()
    named = re.findall(r"`(tests/[^`]+)`", page)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_s_server_is_the_example() -> None:
    readme = (ROOT / "README.md").read_text()
    program = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    example = (ROOT / "examples/chat_six_lines.py").read_text()
    assert [line for line in program.splitlines() if line] == [
        line for line in re.sub(r'^"""(.*?)"""\n', "", example, flags=re.DOTALL).splitlines() if line
    ]


def test_the_python_in_the_documents_compiles() -> None:
    for document in DOCUMENTS:
        for program in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
            compile(program, str(document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


if __name__ == "__main__":
    path = ROOT / "docs/limits.md"
    head = path.read_text().split("| field |")[0]
    path.write_text(head + limits_table())
