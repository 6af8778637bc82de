"""What serves the course and not the model: figures, the set-up cell, the rounds of notebook 00."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dfcvae import faces
from dfcvae.course.lesson_00 import which_is_closer
from dfcvae.course.setup import start
from dfcvae.evaluation import psnr
from dfcvae.figures import show

PACKAGE = Path(show.__file__).parent
ALT = "A sentence that states the finding."


def picture_of(shown: show.Shown, small: bool = True) -> torch.Tensor:
    """What the browser would show: uint8 (height, width, 3)."""
    import io

    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(io.BytesIO(shown.encode(small)[1])).convert("RGB")))


def test_figures_carry_their_alt_text_as_html():
    shown = show.bars({"one": 1.0}, "x", alt='A bar that is "high" & alone.')
    assert 'alt="A bar that is &quot;high&quot; &amp; alone."' in shown._repr_html_()
    assert repr(shown) == 'A bar that is "high" & alone.'


@pytest.mark.parametrize("alt", ["", "figure 1", "a plot of it"])
def test_a_figure_without_a_finding_is_refused(alt):
    with pytest.raises(ValueError, match="states the finding"):
        show.bars({"one": 1.0}, "x", alt=alt)


def test_a_picture_is_shown_pixel_for_pixel():
    x = faces.draw({"skin_tone": torch.tensor([0.1, 0.5, 0.9])})
    sheet = picture_of(show.faces(x, ALT, titles=["a", "b", "c"]))
    side = 3 * 64  # three in a row: thrice enlarged
    assert sheet.shape == (show.LINE + side + show.GAP, 3 * side + 2 * show.GAP, 3)
    for i, picture in enumerate(x):
        left = i * (side + show.GAP)
        shown = sheet[show.LINE : show.LINE + side, left : left + side]
        assert torch.equal(shown[1::3, 1::3], picture.permute(1, 2, 0))


def test_a_picture_encoded_in_haste_has_the_same_pixels():
    shown = show.faces(faces.draw({"skin_tone": torch.tensor([0.1, 0.9])}), ALT)
    assert torch.equal(picture_of(shown, small=False), picture_of(shown))
    assert shown.encode(small=False)[0] == "png" and "data:image/png;" in shown.html(small=False)


def test_rows_stand_in_the_order_given():
    black, white = torch.zeros(5, 3, 64, 64), torch.ones(5, 3, 64, 64)
    sheet = picture_of(show.rows({"dark": black, "light": white}, ALT, note="a note"))
    middle = show.LINE + 64
    assert sheet[middle].unique().tolist() == [0, 255]  # black faces, white gaps
    assert sheet[middle + show.LINE + show.GAP + 128].unique().tolist() == [255]
    assert sheet.shape[1] == show.WIDTH


def test_columns_have_titles_above_the_first_row():
    black = torch.zeros(5, 3, 64, 64)
    without = picture_of(show.rows({"dark": black}, ALT))
    sheet = picture_of(show.rows({"dark": black}, ALT, columns=list("abcde")))
    assert len(sheet) == len(without) + show.LINE and torch.equal(sheet[show.LINE :], without)
    assert (sheet[: show.LINE] < 128).any()


def test_bars_have_one_colour_unless_told():
    def colours(**options) -> list[tuple[float, ...]]:
        bars = show.bars({"one": 1.0, "two": 2.0}, "x", ALT, **options).figure.axes[0].patches
        return [bar.get_facecolor() for bar in bars]

    assert len(set(colours())) == 1
    assert len(set(colours(colours=("blue", "orange")))) == 2


@pytest.mark.parametrize("x", [torch.arange(4), torch.arange(4.0), torch.linspace(0, 0.7, 8)])
def test_whole_numbers_have_whole_ticks(x):
    ticks = show.lines(x, {"a": x}, "x", "y", ALT).figure.axes[0].get_xticks()
    assert (ticks == ticks.round()).all() == (x.max() > 1).item()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="1 titles for 2 pictures"):
        show.faces(torch.zeros(2, 3, 8, 8), ALT, titles=["one"])
    with pytest.raises(ValueError, match="as many in each"):
        show.rows({"a": torch.zeros(2, 3, 8, 8), "b": torch.zeros(3, 3, 8, 8)}, ALT)
    with pytest.raises(ValueError, match="1 titles for 2 columns"):
        show.rows({"a": torch.zeros(2, 3, 8, 8)}, ALT, columns=["one"])


def test_no_model_code_imports_the_figures():
    """Only what serves the notebooks does: the explorer and the course's own modules."""
    importing = re.compile(r"^\s*(from dfcvae import .*\bshow\b|from dfcvae\.show|import dfcvae\.show)", re.M)
    found = {path for path in PACKAGE.rglob("*.py") if importing.search(path.read_text("utf-8"))}
    assert {path.name for path in found if path.parent.name != "course"} <= {"explore.py"}
    of_the_course = re.compile(
        r"^\s*(from dfcvae\.(course\.(?!profiles)|explore)|from dfcvae import .*\bexplore\b)", re.M
    )
    model_code = [
        path
        for path in PACKAGE.glob("*.py")
        if path.name not in ("explore.py", "cli.py", "commands.py", "doctor.py")
    ]
    assert [path.name for path in model_code if of_the_course.search(path.read_text("utf-8"))] == []


def test_figures_need_matplotlib_only_when_drawn():
    command = "import sys, dfcvae.figures.show; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("variable", "place"), [("COLAB_RELEASE_TAG", "Google Colab"), ("JUPYTERHUB_USER", "JupyterHub")]
)
def test_start_says_where_and_with_what(monkeypatch, capsys, variable, place):
    monkeypatch.setenv(variable, "x")
    here = start()
    printed = capsys.readouterr().out
    assert here.place == place and place in printed
    assert here.profile.name == "smoke" and "smoke: 512 drawn faces" in printed
    assert torch.__version__ in printed and here.loss_network in printed


def test_start_keeps_to_the_containers_share(monkeypatch):
    import dfcvae.course.setup as setup

    threads = torch.get_num_threads()
    monkeypatch.setattr(setup, "available_threads", lambda: 1)
    try:
        start()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_start_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install -e "\.\[lab\]"'):
        start()


def test_squared_error_votes_as_the_notebook_says():
    rounds = which_is_closer()
    votes = {n: "A" if psnr(r.a, r.original) > psnr(r.b, r.original) else "B" for n, r in rounds.items()}
    assert votes == {1: "B", 2: "A", 3: "B", 4: "A", 5: "A"}
    for r in rounds.values():
        assert r.original.shape == r.a.shape == r.b.shape == (1, 3, 64, 64)
        assert min(r.a.min(), r.b.min()) >= 0 and max(r.a.max(), r.b.max()) <= 1
