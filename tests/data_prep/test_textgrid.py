"""TextGrids in Praat's two text formats, from its manual and as the Montreal Forced Aligner writes them."""

import pytest

from common.errors import UserError
from data_prep.readers import librispeech
from data_prep.textgrid import read_intervals

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 0.5
            text = "don't"
        intervals [3]:
            xmin = 0.5
            xmax = 1.0
            text = "say ""12"" ! 7"
        intervals [4]:
            xmin = 1.0
            xmax = 1.5
            text = "<unk>"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.7
            mark = "click"
"""

SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"IntervalTier"
"words"
0
1.5
4
0
0.25
""
0.25
0.5
"don't"
0.5
1.0
"say ""12"" ! 7"
1.0
1.5
"<unk>"
"TextTier"
"clicks"
0
1.5
1
0.7
"click"
"""

INTERVALS = {"words": [("", 0, 0.25), ("don't", 0.25, 0.5), ('say "12" ! 7', 0.5, 1), ("<unk>", 1, 1.5)]}


@pytest.mark.parametrize("text", [LONG, SHORT, LONG.replace("size = 2", "size = 2 ! two tiers")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_both_formats_give_the_same_intervals(tmp_path, text, encoding):
    file = tmp_path / "a.TextGrid"
    file.write_bytes(text.encode(encoding))
    assert read_intervals(file) == INTERVALS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ('"ooTextFile" "Pitch 1" 0 1', "is not a TextGrid"),
        (SHORT.rsplit("\n", 12)[0], "damaged"),
        (LONG.replace("intervals: size = 4", "intervals: size = 5"), "damaged"),
        (LONG.replace("xmax = 0.5", 'xmax = "0.5"'), "damaged"),
        (LONG.replace("xmin = 0.5", "xmin = 0.2"), "the times of the tier 'words' go back"),
        (LONG.replace("xmax = 1.0", "xmax = 1e999"), "go back or are not finite"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, said):
    file = tmp_path / "a.TextGrid"
    file.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_intervals(file)
    assert str(caught.value).startswith(str(file))


def test_textgrids_are_alignments_beside_the_other_form(tmp_path):
    """As in the published alignments: train-clean-100/19/198/19-198-0000.TextGrid, with words in small letters."""
    chapter = tmp_path / "train-clean-100" / "19" / "198"
    chapter.mkdir(parents=True)
    (chapter / "19-198-0000.TextGrid").write_text(LONG)
    (chapter / "19-198-0001.TextGrid").write_text(SHORT.replace('"words"', '"19 - words"').replace('""12""', "twelve"))
    (chapter / "19-198-0002.TextGrid").write_text("not read, because it is not asked for")
    (tmp_path / "26-495.alignment.txt").write_text('26-495-0000 ",A," "0.1,0.4,0.5"\n26-495-0001 "B" "0.5"\n')
    wanted = {"19-198-0000", "19-198-0001", "26-495-0000"}
    assert librispeech.read_alignments(tmp_path, wanted) == {
        "19-198-0000": [("DON'T", 0.25, 0.5), ('SAY "12" ! 7', 0.5, 1.0)],
        "19-198-0001": [("DON'T", 0.25, 0.5), ("SAY TWELVE ! 7", 0.5, 1.0)],
        "26-495-0000": [("A", 0.1, 0.4)],
    }
    (tmp_path / "19-198.alignment.txt").write_text('19-198-0000 "A" "0.5"\n')
    with pytest.raises(UserError, match="19-198-0000 is aligned a second time"):
        librispeech.read_alignments(tmp_path, wanted)


def test_a_textgrid_without_a_tier_of_words_is_named(tmp_path):
    file = tmp_path / "19-198-0000.TextGrid"
    file.write_text(LONG.replace('"words"', '"phones"'))
    with pytest.raises(UserError, match="expected one tier 'words', but found the tiers phones") as caught:
        librispeech.read_alignments(tmp_path)
    assert str(caught.value).startswith(str(file))
