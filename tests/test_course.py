"""What the notebooks import: figures, the set-up cell, profiles, the comparison of the two models."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dfcvae import faces
from dfcvae.course.compare import COMPARED, compare
from dfcvae.course.profiles import profile
from dfcvae.course.setup import start
from dfcvae.figures import show

ALT = "A sentence that states the finding."


def picture_of(shown: show.Shown, small: bool = True) -> torch.Tensor:
    """What the browser would show: uint8 (height, width, 3)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(shown.encode(small)[1])).convert("RGB")))


def test_figures_carry_their_alt_text_as_html():
    shown = show.bars({"one": 1.0}, "x", alt='A bar that is "high" & alone.')
    assert 'alt="A bar that is &quot;high&quot; &amp; alone."' in shown._repr_html_()
    assert repr(shown) == 'A bar that is "high" & alone.'


def test_what_does_not_fit_is_refused():
    for alt in ("", "figure 1", "a plot of it"):
        with pytest.raises(ValueError, match="states the finding"):
            show.bars({"one": 1.0}, "x", alt=alt)
    with pytest.raises(ValueError, match="1 titles for 2 pictures"):
        show.faces(torch.zeros(2, 3, 8, 8), ALT, titles=["one"])
    with pytest.raises(ValueError, match="as many in each"):
        show.rows({"a": torch.zeros(2, 3, 8, 8), "b": torch.zeros(3, 3, 8, 8)}, ALT)
    with pytest.raises(ValueError, match="1 titles for 2 columns"):
        show.rows({"a": torch.zeros(2, 3, 8, 8)}, ALT, columns=["one"])


@pytest.mark.parametrize(("small", "kind"), [(True, "webp"), (False, "png")])
def test_a_picture_is_shown_pixel_for_pixel(small, kind):
    x = faces.draw({"skin_tone": torch.tensor([0.1, 0.5, 0.9])})
    shown = show.faces(x, ALT, titles=["a", "b", "c"])
    assert shown.encode(small)[0] == kind and f"data:image/{kind};" in shown.html(small)
    sheet, side = picture_of(shown, small), 3 * 64  # three in a row: thrice enlarged
    assert sheet.shape == (show.LINE + side + show.GAP, 3 * side + 2 * show.GAP, 3)
    for i, picture in enumerate(x):
        left = i * (side + show.GAP)
        enlarged = sheet[show.LINE : show.LINE + side, left : left + side]
        assert torch.equal(enlarged[1::3, 1::3], picture.permute(1, 2, 0))


def test_rows_stand_in_the_order_given_and_titles_of_columns_above_the_first():
    black, white = torch.zeros(5, 3, 64, 64), torch.ones(5, 3, 64, 64)
    sheet = picture_of(show.rows({"dark": black, "light": white}, ALT, note="a note"))
    middle = show.LINE + 64
    assert sheet.shape[1] == show.WIDTH
    assert sheet[middle].unique().tolist() == [0, 255]  # black faces, white gaps
    assert sheet[middle + show.LINE + show.GAP + 128].unique().tolist() == [255]
    one = picture_of(show.rows({"dark": black}, ALT))
    titled = picture_of(show.rows({"dark": black}, ALT, columns=list("abcde")))
    assert torch.equal(titled[show.LINE :], one) and (titled[: show.LINE] < 128).any()


def test_bars_have_one_colour_unless_told():
    for colours, count in ((("blue",), 1), (("blue", "orange"), 2)):
        axis = show.bars({"one": 1.0, "two": 2.0}, "x", ALT, colours=colours).figure.axes[0]
        assert len({bar.get_facecolor() for bar in axis.patches}) == count


@pytest.mark.parametrize("x", [torch.arange(4), torch.arange(4.0), torch.linspace(0, 0.7, 8)])
def test_whole_numbers_have_whole_ticks(x):
    ticks = show.lines(x, {"a": x}, "x", "y", ALT).figure.axes[0].get_xticks()
    assert (ticks == ticks.round()).all() == (x.max() > 1).item()


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
    threads = torch.get_num_threads()
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    start()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_start_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install -e "\.\[lab\]"'):
        start()


def test_a_profile_comes_from_its_name_the_environment_or_the_machine(monkeypatch):
    assert profile("gpu").loss_network == "torchvision" and profile().name == "smoke"
    monkeypatch.delenv("DFCVAE_PROFILE")
    for there, name in ((True, "gpu"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert profile().name == name
    with pytest.raises(ValueError, match="unknown profile 'large'.*smoke, cpu, gpu"):
        profile("large")


def test_both_models_of_the_comparison_start_alike_and_keep_their_steps(images, vgg_file, tmp_path):
    settings = {"features": vgg_file, "batch_size": 8, "progress": False}
    runs = compare(images, images, tmp_path, steps=2, learning_rate=1e-12, **settings)
    assert list(runs) == list(COMPARED) and (tmp_path / "comparison.png").is_file()
    for plain, dfc in zip(*(run.model.parameters() for run in runs.values()), strict=True):
        torch.testing.assert_close(plain, dfc)
    again = compare(images, images, tmp_path, minutes=9.0, learning_rate=1e-12, **settings)
    assert [run.config["training"]["steps"] for run in again.values()] == [2, 2]
