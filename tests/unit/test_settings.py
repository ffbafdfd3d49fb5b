"""Settings: from outside, over the defaults, with a sentence for what is wrong."""

from pathlib import Path

import pytest

from towpath.cli.configuration import configured, origins
from towpath.errors import InvalidError
from towpath.settings import Settings


def test_the_defaults_survive_a_child_process() -> None:
    assert Settings().merged(Settings().to_config(), "x") == Settings()


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text("[edge]\ndrain_seconds = 3\nstart_seconds = 4\n")
    monkeypatch.setenv("TOWPATH_EDGE_DRAIN_SECONDS", "7.5")
    monkeypatch.setenv("TOWPATH_HOME", "somewhere")

    found = configured(tmp_path)

    assert found.edge.drain_seconds == 7.5
    assert found.edge.start_seconds == 4
    assert found.gitops == Settings().gitops
    assert origins(tmp_path) == {
        "edge.drain_seconds": "environment",
        "edge.start_seconds": "settings.toml",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[edge", "cannot be read"),
        ("[nothing]\na = 1", "no settings 'nothing'"),
        ("edge = 1", "no settings 'edge'"),
        ("[edge]\ncolour = 1", "no setting edge.colour"),
        ("[edge]\ndrain_seconds = 'long'", "'long', not a number"),
        ("[edge]\ndrain_seconds = -1", "-1, not a number above 0"),
        ("[edge]\ndrain_seconds = true", "True, not a number"),
        ("[edge]\ndrain_seconds = nan", "not a number above 0"),
        ("[edge]\ndrain_seconds = inf", "not a number above 0"),
        ("[serve]\nthreads = 1.9", "1.9, not a whole number"),
        ("[api]\nhistory = 'x'", "not a whole number"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "settings.toml").write_text(text)

    with pytest.raises(InvalidError, match=says) as caught:
        configured(tmp_path)

    assert "settings.toml" in str(caught.value)
