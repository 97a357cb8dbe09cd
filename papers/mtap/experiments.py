"""The paper's own rows: losses (Tables 1-3), fusion (4), gender (5), fusion with APFL (6, 7); Figures 4 and 5.

Tables 1-chosen to 3-chosen are not in the paper: they repeat the rows of Tables 1 to 3 that have a gamma or m, which
are chosen from the paper's grid on validation utterances.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common.contract import Experiment, Figure, Paper, PretrainedWeights
from common.splits import LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold
from papers.mtap.config import SCALED, MtapConfig

REPEATS = 5
"""Sec. 5.2.2: five runs per fold."""

FRAMES = {"emodb": 400, "savee": 500, "iemocap": 600}
"""Sec. 5.2.1."""

SUBSETS = {"emodb": "7class", "savee": "7class", "iemocap": "4class-improvised"}
"""Sec. 5.1. IEMOCAP: improvised, four emotions without excited, 2280 utterances."""

PROTOCOLS = {
    ("1", "emodb"): LeaveOneSpeakerOut(),
    ("1", "savee"): LeaveOneSpeakerOut(),
    ("2", "emodb"): StratifiedKFold(10),
    ("2", "savee"): StratifiedKFold(5),
    ("3", "iemocap"): LeaveOneSessionOut(),
}
"""Sec. 5.1 and 5.2.3-5.2.5. The choice of validation data on EMODB and SAVEE is not given (see README.md)."""

SOFTMAX = {"softmax": (0.0, 0.0)}

ROWS = {
    ("1", "emodb"): {**SOFTMAX, "focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (0.10, 0.50)},
    ("1", "savee"): {**SOFTMAX, "focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (5.0, 0.50)},
    ("2", "emodb"): {**SOFTMAX, "focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (5.0, 0.50)},
    ("2", "savee"): {**SOFTMAX, "focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (0.50, 0.50)},
    ("3", "iemocap"): {**SOFTMAX, "focal": (0.50, 0.0), "arcface": (0.0, 0.30), "apfl": (0.50, 0.30)},
}
"""Gamma and m of each row, as printed in the tables."""

TITLES = {"softmax": "Softmax", "focal": "Focal", "arcface": "ArcFace", "apfl": "APFL"}

BACKBONES = {"resnet50": "ResNet50", "densenet169": "DenseNet169"}

FUSIONS = {
    "+bert": ("+BERT", {"text": True}),
    "+vggish": ("+VGGish", {"audio": True}),
    "+bert+vggish": ("+BERT + VGGish", {"text": True, "audio": True}),
}
"""Table 4: what is fused with the spectrogram."""

LAMBDAS = {
    "resnet50": {"a": 0.25, "b": 0.25, "c": 0.25},
    "densenet169": {"a": 1.0, "b": 0.5, "c": 1.0},
}
"""Table 5, by backbone and gender head. Its rows with lambda = 0 are in Table 4, so its emotion loss is Table 4's."""

FUSED_GAMMA = {"resnet50": 2.0, "densenet169": 0.1}
"""Gamma of Table 6's last row of each backbone; m = 0.3."""

PANELS = {
    "image": ("Spectrogram", {}),
    "image+text": ("Spectrogram and text", {"text": True}),
    "image+audio": ("Spectrogram and audio", {"audio": True}),
    "image+text+audio": ("Spectrogram, text and audio", {"text": True, "audio": True}),
}
"""Figure 5 (a) to (d)."""


def _row(table: str, corpus: str, row: str, title: str, repeats: int = REPEATS, **settings) -> Experiment:
    return Experiment(
        id=f"mtap/{table if table.startswith('fig') else 'table' + table}/{corpus}/{row}",
        title=title,
        corpus=corpus,
        subset=SUBSETS[corpus],
        protocol=PROTOCOLS.get((table, corpus), LeaveOneSessionOut()),
        config=MtapConfig(frames=FRAMES[corpus], **settings),
        repeats=repeats,
    )


CHOSEN = {"focal": "gamma", "arcface": "m", "apfl": "gamma and m"}
"""What is chosen for each loss."""


def _chosen(row: Experiment) -> Experiment:
    """The row with gamma and m chosen on validation; in a table of its own, since it costs up to 24 trainings."""
    chosen = f"{row.title}, {CHOSEN[row.config.loss]} chosen on validation"
    return dataclasses.replace(
        row,
        id=row.id.replace(f"table{row.table}/", f"table{row.table}-chosen/"),
        title=chosen,
        config=dataclasses.replace(row.config, choose=True),
    )


def _experiments() -> tuple[Experiment, ...]:
    rows = []
    for (table, corpus), losses in ROWS.items():
        for loss, (gamma, margin) in losses.items():
            rows.append(_row(table, corpus, loss, TITLES[loss], loss=loss, gamma=gamma, margin=margin))
    rows.append(_row("4", "iemocap", "resnet50", "ResNet50", backbone="resnet50"))
    apfl = {"loss": "apfl", "gamma": 2.0, "margin": 0.3}
    rows.append(_row("6", "iemocap", "resnet50-apfl", "ResNet50, APFL", backbone="resnet50", **apfl))
    for name, title in BACKBONES.items():
        for fusion, (added, settings) in FUSIONS.items():
            rows.append(_row("4", "iemocap", name + fusion, f"{title} {added}", backbone=name, **settings))
    for name, title in BACKBONES.items():
        for head, weight in LAMBDAS[name].items():
            settings = {"backbone": name, "text": True, "audio": True, "gender_head": head, "gender_weight": weight}
            title_with_head = f"{title} +BERT + VGGish + MTL-{head.upper()}"
            rows.append(_row("5", "iemocap", f"{name}+mtl-{head}", title_with_head, **settings))
    for name, title in BACKBONES.items():
        settings = {"backbone": name, "text": True, "audio": True, **apfl, "gamma": FUSED_GAMMA[name]}
        rows.append(_row("6", "iemocap", f"{name}+bert+vggish-apfl", f"{title} +BERT + VGGish, APFL", **settings))
    # The figures show one run per fold, which keeps the features of the test utterances.
    for loss, (gamma, margin) in ROWS["3", "iemocap"].items():
        settings = {"loss": loss, "gamma": gamma, "margin": margin, "keep_features": True}
        rows.append(_row("fig4", "iemocap", loss, TITLES[loss], 1, **settings))
    for row, (title, settings) in PANELS.items():
        rows.append(_row("fig5", "iemocap", row, title, 1, keep_features=True, **settings))
    chosen = [_chosen(row) for row in rows if row.table in ("1", "2", "3") and row.config.loss in CHOSEN]
    return (*rows, *chosen)


def pretrained(config: MtapConfig) -> list[PretrainedWeights]:
    """ImageNet weights, BERT and VGGish, for the modalities in use."""
    from papers.mtap.data import SOURCE_NAMES, checkpoint_folder, imagenet_file

    found = []
    if config.image:
        title, source = f"ImageNet weights of {config.backbone}", SOURCE_NAMES.get(config.backbone, "")
        if config.weights == "random":
            found.append(PretrainedWeights(config.backbone, random=True))
        else:
            path = imagenet_file(config.backbone)
            found.append(PretrainedWeights(title, path, source, fallback={"weights": "random"}))
    for modality, field, title in (("text", "bert", "BERT"), ("audio", "vggish", "VGGish")):
        checkpoint = getattr(config, field)
        if not getattr(config, modality):
            continue
        if checkpoint.startswith("random"):
            found.append(PretrainedWeights(title, random=True))
        elif checkpoint in SOURCE_NAMES:
            path = checkpoint_folder(checkpoint)
            path = path if path.exists() else None
            found.append(PretrainedWeights(title, path, SOURCE_NAMES[checkpoint], fallback={field: "random"}))
        elif Path(checkpoint).expanduser().exists():
            found.append(PretrainedWeights(title, Path(checkpoint).expanduser()))
        else:  # a handle or a preset, which its library downloads, or a mistake, which the extractor refuses
            found.append(PretrainedWeights(title, preset=checkpoint))
    if config.audio and config.vggish_pca:
        found.append(PretrainedWeights("AudioSet's PCA", Path(config.vggish_pca)))
    return found


PAPER = Paper(
    package=__package__,
    title="Multimodal and Multitask Learning with Additive Angular Penalty Focus Loss for Speech Emotion Recognition",
    reference="Wen, Ye, Li, Wen, Zhang 2023, International Journal of Intelligent Systems",
    experiments=_experiments(),
    cost="cost:work",
    pretrained="experiments:pretrained",
    scaled=SCALED,
    demo=("3",),
    demo_changes={"epochs": 10, "patience": 10},
    figures=(
        Figure("4", "Test features under each loss (t-SNE)", "figures:draw_losses"),
        Figure("5", "Test features by modality (t-SNE)", "figures:draw_modalities"),
    ),
)
