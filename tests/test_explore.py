"""The explorer: what its sliders say becomes a picture, soon, without a queue, and with words beside it."""

import asyncio
import io

import numpy as np
import pytest
import torch
from PIL import Image

import dfcvae
from dfcvae.figures import show
from dfcvae.figures.explore import GAP, Explorer, Space, State, turn

NAMES = ("Hat", "Smile")


@pytest.fixture
def space():
    model = dfcvae.VAE(64).eval()
    return Space(model, torch.randn(4, 100), torch.randn(2, 100), NAMES)


@pytest.fixture
def explorer(space):
    return Explorer(space, NAMES, latents=(3, 50))


def test_a_state_is_a_code(space):
    z = space.z(State(2, {"Smile": 1.5, "Hat": -1}, {7: 0.5}))
    expected = space.mu[2] + 1.5 * space.vectors[1] - space.vectors[0]
    expected[7] += 0.5
    torch.testing.assert_close(z, expected)
    assert torch.equal(space.z(State(1)), space.mu[1]), "codes to start from are not changed"
    with pytest.raises(KeyError, match="no vector for 'Frown'"):
        space.z(State(0, {"Frown": 1}))


def test_the_picture_shows_start_and_change(space):
    png = space.png(State(1, {"Hat": 2}), zoom=4)
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG" and picture.size == (2 * 256 + GAP, 256)
    pixels = torch.from_numpy(np.array(picture))[::4, ::4]
    start, changed = space.pictures([State(1), State(1, {"Hat": 2})])
    torch.testing.assert_close(pixels[:, :64].permute(2, 0, 1).float() / 255, start, atol=0.003, rtol=0)
    torch.testing.assert_close(pixels[:, -64:].permute(2, 0, 1).float() / 255, changed, atol=0.003, rtol=0)
    assert png == space.png(State(1, {"Hat": 2}), zoom=4)


def test_numbers_and_the_still_grid_say_what_is_shown(space):
    assert "moved by 0.00" in space.read_out(State(0)) and "changed by 0.0%" in space.read_out(State(0))
    assert "moved by 3.00" in space.read_out(State(0, {}, {5: 3.0}))
    grid = space.grid(NAMES, (-1, 0, 1))
    assert "Hat, Smile" in grid.alt and "<img" in grid._repr_html_()


def test_sliders_move_the_picture_and_the_numbers(explorer):
    for slider in explorer.sliders:  # each takes keys and has a name
        assert slider.description and slider.readout and slider.continuous_update and not slider.disabled
    before, numbers = explorer.image.value, explorer.numbers.value
    explorer.amounts["Smile"].value = 2.0
    assert explorer.image.value != before and explorer.numbers.value != numbers
    assert explorer.image.value == explorer.space.png(State(0, {"Smile": 2.0}))
    explorer.shifts[50].value = -4.0
    explorer.face.value = 3
    assert explorer.state == State(3, {"Smile": 2.0}, {50: -4.0})
    explorer.reset.click()
    assert explorer.state == State(3) and explorer.image.value == explorer.space.png(State(3))


def test_the_pair_is_drawn_once_for_picture_and_numbers(explorer, monkeypatch):
    drawn, decode = [], explorer.space.model.decode
    monkeypatch.setattr(explorer.space.model, "decode", lambda z: drawn.append(len(z)) or decode(z))
    explorer.shifts[3].value = 2.0
    assert drawn == [2]
    state = State(0, {}, {3: 2.0})
    assert explorer.image.value == explorer.space.png(state)
    assert explorer.numbers.value.startswith(f'<span role="status">{explorer.space.read_out(state)};')


def test_events_never_queue(explorer):
    """A burst of events gives one or two pictures, the last one of the newest state."""

    drawn = []
    explorer.image.observe(drawn.append, "value")

    async def burst():
        for i in range(200):
            explorer.amounts["Hat"].value = (i + 1) / 100
        await asyncio.sleep(0.5)

    asyncio.run(burst())
    assert 1 <= len(drawn) <= 2
    assert explorer.image.value == explorer.space.png(State(0, {"Hat": 2.0}))


def grey(level, **_):
    picture = torch.full((1, 3, 64, 64), level)
    return show.faces(picture, alt=f"A square of one grey that has level {level:g}.", columns=1)


def test_any_figure_follows_sliders_whose_names_can_be_read():
    *sliders, picture = turn(grey, level=(0.0, 1.0, 0.05, 0.5), a_name_of_some_length=(0, 2, 1, 0)).children
    assert [one.description for one in sliders] == ["level", "a_name_of_some_length"]
    assert all(one.style.description_width == "11em" for one in sliders)
    assert (sliders[0].min, sliders[0].max, sliders[0].step, sliders[0].value) == (0, 1, 0.05, 0.5)
    assert picture.value == grey(0.5).html(small=False) and picture.layout.min_height == "324px"
    sliders[0].value = 0.75
    assert picture.value == grey(0.75).html(small=False) and "level 0.75" in picture.value


def test_the_figure_of_a_dragged_slider_is_that_of_its_last_value():
    levels = []

    async def drag():
        slider, picture = turn(
            lambda level: levels.append(level) or grey(level), level=(0, 1, 0.01, 0)
        ).children
        for i in range(100):
            slider.value = (i + 1) / 100
        await asyncio.sleep(0.5)
        return picture.value

    assert asyncio.run(drag()) == grey(1.0).html(small=False)
    assert levels[0] == 0 and levels[-1] == 1 and 2 <= len(levels) <= 3


def test_the_grid_gives_way_when_a_front_end_answers(explorer, monkeypatch):
    shown, updated = [], []

    class Place:
        def update(self, what):
            updated.append(what)

    def display(what, display_id=None):
        shown.append(what)
        return Place() if display_id else None

    monkeypatch.setattr("IPython.display.display", display)
    explorer._ipython_display_()
    assert [type(what).__name__ for what in shown] == ["Shown", "VBox"] and not updated
    explorer.widget._view_count = 1
    (folded,) = updated
    assert folded.data.startswith("<details>") and shown[0]._repr_html_() in folded.data
