import re
from pathlib import Path

import pytest

import pcmref
from pcmref.devices.published import MODELS
from pcmref.references import REFERENCES

PACKAGE = Path(pcmref.__file__).parent
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "references.py"]
CITATION = re.compile(r"\[([A-Z]\d{2})\]")


def cited(path):
    return set(CITATION.findall(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [*SOURCES, PACKAGE / "SPEC.md"], ids=lambda path: path.name)
def test_every_key_cited_is_listed(path):
    assert cited(path) <= set(REFERENCES)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_every_source_of_a_model_is_listed(model):
    assert model.source in REFERENCES


def test_every_key_listed_is_cited():
    assert set(REFERENCES) == set.union(*map(cited, SOURCES), {model.source for model in MODELS.values()})


@pytest.mark.parametrize("key", REFERENCES)
def test_a_reference_is_complete(key):
    text = REFERENCES[key]
    author, year = text.split(", ")[0].removesuffix(" et al."), key[1:]
    assert author.split(". ")[-1].startswith(key[0])
    assert re.search(rf"\b(19|20){year}\b|\bSC{year}\b", text)
    assert re.search(r"\bdoi 10\.\d{4,}/[\w.-]+", text)


def test_the_list_is_in_order():
    assert list(REFERENCES) == sorted(REFERENCES)
