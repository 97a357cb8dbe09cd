"""Makes the folders here: random networks of each family, and what Hugging Face's PyTorch models say to noise.

    python make.py      needs torch and transformers, which the suite does not (made with 2.13.0 and 4.57.6)

The base-like networks normalise the first convolution over time and the transformer layers after their blocks; the
large-like ones normalise each frame of every convolution, and before the blocks. data2vec audio has only layers of the
former kind and convolutions of the latter, so its two networks differ in the biases and in the length of the kernels.
Weight-normalised tensors keep the names of PyTorch 2.1 and later, where published checkpoints have the old ones.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

FOLDER = Path(__file__).parent
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
LARGE = {
    "hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2, "feat_extract_norm": "layer",
    "do_stable_layer_norm": True, "conv_bias": True, "num_conv_pos_embeddings": 5,
}  # fmt: skip
BUCKETS = {"num_buckets": 16, "max_bucket_distance": 9}  # distances of their own, logarithmic ones, and the last bucket
STACK = {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
LARGE_STACK = {"hidden_size": 12, "conv_bias": True, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 4}
NETWORKS = {
    "hubert": ("Hubert", {}),
    "hubert_large": ("Hubert", LARGE),
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2_large": ("Wav2Vec2", LARGE),
    "wavlm": ("WavLM", BUCKETS),
    "wavlm_large": ("WavLM", {**LARGE, **BUCKETS}),
    "data2vec": ("Data2VecAudio", STACK),
    "data2vec_large": ("Data2VecAudio", LARGE_STACK),
}

torch.manual_seed(7)
waveform = torch.randn(2, 5000)
lengths = torch.tensor([5000, 2500])
attention = (torch.arange(5000)[None] < lengths[:, None]).long()
masked = torch.zeros(2, 15, dtype=torch.bool)
masked[0, 3:6] = masked[1, 1:3] = masked[1, 10] = True
np.savez(FOLDER / "inputs.npz", waveform=waveform.numpy(), lengths=lengths.numpy(), masked=masked.numpy())

for name, (family, changes) in NETWORKS.items():
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **changes})
    model = getattr(transformers, f"{family}Model")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # no norm at 1, no bias at 0
            weight += 0.1 * torch.randn_like(weight)

    def states(**inputs):
        with torch.no_grad():
            found = model(waveform, output_hidden_states=True, **inputs)  # noqa: B023
        assert torch.equal(found.hidden_states[-1], found.last_hidden_state)
        return np.stack([state.numpy() for state in found.hidden_states])

    with torch.no_grad():
        features = model.feature_extractor(waveform).transpose(1, 2)
    (FOLDER / name).mkdir(exist_ok=True)
    save_file(model.state_dict(), FOLDER / name / "model.safetensors")
    config.save_pretrained(FOLDER / name)
    np.savez(
        FOLDER / name / "expected.npz",
        features=features.numpy(),
        hidden_states=states(),
        hidden_states_with_attention_mask=states(attention_mask=attention),
        hidden_states_with_masked_frames=states(mask_time_indices=masked),
    )
