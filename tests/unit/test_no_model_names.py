"""Code depends on the capabilities of a family, never on a model's name: no code searches for part of one."""

import ast
from pathlib import Path

import pytest

EXTPROC = Path(__file__).parents[2] / "extproc"
MAKERS = ("anthropic", "amazon", "meta", "cohere", "mistral", "ai21", "deepseek", "openai", "qwen", "writer")
MODELS = ("claude", "nova", "titan", "llama", "mixtral", "jamba", "command", "gpt", "palmyra", "pixtral")
LOOKS = {"startswith", "endswith", "find", "index", "count", "match", "fullmatch", "search", "removeprefix", "split"}

FILES = sorted(EXTPROC.rglob("*.py"))


def named(node):
    """Return true if this is a text, or a tuple of texts, with a model's or its maker's name in it."""
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(name in text.lower() for text in texts for name in (*MAKERS, *MODELS))


def looks(tree):
    """Yield the lines that search for such a name inside another value."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=ast.Constant() as left, ops=[ast.In() | ast.NotIn()]) if named(left):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr=attribute), args=[first, *_]) if attribute in LOOKS and named(first):
                yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXTPROC)))
def test_no_code_looks_for_a_model_by_its_name(path):
    assert list(looks(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    ['if "claude" in model: pass', 'model.startswith(("amazon.", "us.amazon"))', 're.match("meta.llama", model)'],
)
def test_such_a_look_is_seen(line):
    assert list(looks(ast.parse(line))) == [1]
