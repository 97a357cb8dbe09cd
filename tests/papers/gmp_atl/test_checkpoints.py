"""Other networks in HuBERT's place: public checkpoints by their names, and folders of each family."""

import keras
import numpy as np
import pytest

from common.errors import UserError
from common.models.speech_weights import load
from data_prep.fetching.sources import SOURCES
from papers.gmp_atl import model
from papers.gmp_atl.config import CHECKPOINTS, GmpConfig
from papers.gmp_atl.experiments import PAPER
from tests.helpers import GOLDEN
from tests.helpers.gmp_atl_data import reduced
from tests.helpers.resolved import resolve

FOLDER = GOLDEN / "speech_encoders"


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_public_checkpoint_is_found_where_it_is_fetched_to(name, monkeypatch, tmp_path):
    monkeypatch.setenv("SER_MODELS", str(tmp_path))
    source = SOURCES[CHECKPOINTS[name]]
    assert source.page == f"https://huggingface.co/{name}" and name.endswith(source.name)
    assert {"config.json", source.holds} <= {file.name for file in source.files}
    config = GmpConfig(hubert=name)
    resolved = resolve(PAPER, config)
    assert resolved.config.hubert == "random-base" and f"`ser fetch {source.name}`" in resolved.flags[0]
    with pytest.raises(UserError, match=rf"{name} is not here. Download it with `ser fetch {source.name}`"):
        model.build_hubert(config)
    (tmp_path / source.name).mkdir()
    (tmp_path / source.name / source.holds).touch()
    assert resolve(PAPER, config, allow=False).config == config


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm_large", "data2vec"])
def test_a_folder_of_another_family_becomes_the_network_that_it_describes(name):
    config = reduced(hubert=str(FOLDER / name), layer=-2)
    encoder = model.build_hubert(config)
    wanted, waveform = load(FOLDER / name, padding="exact"), np.load(FOLDER / "inputs.npz")["waveform"]
    for one, other in zip(encoder.get_weights(), wanted.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    network = model.build_stage3(config, encoder, 3)
    assert model.encoder_of(network) is encoder
    inputs = {"waveform": waveform, "lengths": np.array([5000, 2500], np.int32)}
    together = keras.tree.map_structure(np.asarray, network(inputs))["emotion"]
    alone = {"waveform": waveform[1:, :2500], "lengths": np.array([2500], np.int32)}
    np.testing.assert_allclose(together[1:], np.asarray(network(alone)["emotion"]), atol=1e-5)
    assert together.shape == (2, 3)


def test_digests_name_the_checkpoint():
    folders = [str(FOLDER / name) for name in ("wav2vec2", "wavlm")]
    digests = {model.checkpoint_digest(GmpConfig(hubert=folder)) for folder in folders}
    assert len(digests) == 2
