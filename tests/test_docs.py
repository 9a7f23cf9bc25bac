"""What the documents say of the code is so."""

import re
from pathlib import Path

import pytest

from orchestrator.settings import Settings

ROOT = Path(__file__).parent.parent


def test_every_setting_stands_in_the_example_with_its_default() -> None:
    lines = dict(re.findall(r"^#? ?([A-Z][A-Z_0-9]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(lines) == {name.upper() for name in Settings.model_fields}


def test_the_examples_values_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.sub(r"^# ([A-Z_0-9]+=)", r"\1", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(example)
    assert Settings(_env_file=tmp_path / ".env") == Settings(_env_file=None)


def test_every_setting_stands_in_the_documentation() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    missing = [name.upper() for name in Settings.model_fields if f"`{name.upper()}`" not in text]
    assert missing == []


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page.parent / target).exists(), target


def test_no_file_names_an_address_to_fetch_packages_from() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()
