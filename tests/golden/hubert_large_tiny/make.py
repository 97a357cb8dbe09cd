"""Makes this folder: a random HuBERT of the large variety and what Hugging Face's PyTorch model says to noise.

    python make.py      needs torch and transformers, which the suite does not (made with 2.13.0 and 5.23.0)

Weight-normalised tensors keep the names of PyTorch 2.1 and later, where published checkpoints have the old ones.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import HubertConfig, HubertModel

FOLDER = Path(__file__).parent
torch.manual_seed(5)
config = HubertConfig(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32, conv_dim=[8] * 7, conv_bias=True,
    feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=15, num_conv_pos_embedding_groups=2,
)  # fmt: skip
model = HubertModel(config).eval()
with torch.no_grad():
    for weight in model.parameters():  # no norm at 1, no bias at 0
        weight += 0.1 * torch.randn_like(weight)
waveform = torch.randn(2, 4000)
lengths = torch.tensor([4000, 2500])
attention = (torch.arange(4000)[None] < lengths[:, None]).long()
with torch.no_grad():
    plain = model(waveform, output_hidden_states=True)
    masked = model(waveform, attention_mask=attention)
save_file(model.state_dict(), FOLDER / "model.safetensors")
config.save_pretrained(FOLDER)
np.savez(
    FOLDER / "expected.npz",
    waveform=waveform.numpy(),
    lengths=lengths.numpy(),
    first_hidden_states=np.stack([state.numpy() for state in plain.hidden_states[:-1]]),
    last_hidden_state=plain.last_hidden_state.numpy(),
    last_hidden_state_with_attention_mask=masked.last_hidden_state.numpy(),
)
