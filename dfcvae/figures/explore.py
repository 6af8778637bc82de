"""An explorer of the latent space: sliders for attributes and latents, and a still grid without them.

`Space` turns what the sliders say into a picture; it knows nothing of widgets, and is what is timed.
`Explorer` is the widgets: every control takes the keyboard, and every number is written out. `turn` puts
sliders to any function that makes a figure. Nothing in the package imports this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dfcvae.figures import show
from dfcvae.figures.png import enlarged, png_bytes

if TYPE_CHECKING:
    import ipywidgets

PAUSE = 0.03  # seconds from one picture's start to the next at least: the next one shows what came in between
GAP = 8  # pixels between the two pictures
HELP = "Tab goes from control to control, the arrow keys turn it; a number beside a slider can be typed over."


@dataclass(frozen=True)
class State:
    """What the sliders say. face: which code to start from. attributes: how many attribute vectors to add,
    by name. latents: what to add to single latents, by number.
    """

    face: int = 0
    attributes: Mapping[str, float] = field(default_factory=dict)
    latents: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Space:
    """A model, codes mu (N, latent_dim) to start from, and attribute vectors (A, latent_dim) by name.

    model: a VAE, or whatever has parameters and decodes z (N, latent_dim) into pictures (N, 3, S, S).
    """

    model: Any
    mu: Tensor
    vectors: Tensor
    names: Sequence[str]

    def z(self, state: State) -> Tensor:
        """The code of a state: (latent_dim,). KeyError for an unknown attribute."""
        z = self.mu[state.face].clone()
        for name, amount in state.attributes.items():
            if name not in self.names:
                raise KeyError(f"no vector for {name!r}: there are {', '.join(self.names)}.")
            z += amount * self.vectors[list(self.names).index(name)]
        for latent, amount in state.latents.items():
            z[latent] += amount
        return z

    @torch.inference_mode()
    def pictures(self, states: Sequence[State]) -> Tensor:
        """What the decoder draws: float (N, 3, S, S) in [0, 1], on the CPU."""
        z = torch.stack([self.z(state) for state in states])
        return self.model.decode(z.to(next(self.model.parameters()).device)).cpu()

    def pair(self, state: State) -> Tensor:
        """The face to start from and the changed one: float (2, 3, S, S)."""
        return self.pictures([State(state.face), state])

    def png(self, state: State, zoom: int = 4, pair: Tensor | None = None) -> bytes:
        """The pair side by side, as a PNG; zoom: pixels a pixel; pair: where it has been drawn already."""
        start, changed = enlarged(self.pair(state) if pair is None else pair, zoom)
        return png_bytes(torch.cat([F.pad(start, (0, GAP), value=255), changed], dim=2))

    def read_out(self, state: State, pair: Tensor | None = None) -> str:
        """The state in numbers: how far z has moved, how long it is, how much of the picture changed."""
        start, changed = self.pair(state) if pair is None else pair
        moved, length = (self.z(state) - self.mu[state.face]).norm().item(), self.z(state).norm().item()
        change = (changed - start).abs().mean().item()
        return (
            f"z moved by {moved:.2f}, its length is {length:.1f}; pixels changed by {change:.1%} on average"
        )

    def grid(self, attributes: Sequence[str], amounts: Sequence[float], face: int = 0) -> show.Shown:
        """What the explorer shows with nobody at the sliders: a row an attribute, a column an amount."""
        told = "  ".join(f"{amount:+g}" if amount else "0" for amount in amounts)
        rows, found = {}, []
        for name in attributes:
            drawn = self.pictures([State(face, {name: amount}) for amount in amounts])
            rows[f"{name}: {told}"] = drawn
            # Where the two ends differ most: in which third of the picture's height.
            places = (drawn[-1] - drawn[0]).square().mean(dim=(0, 2))
            thirds = [part.sum().item() for part in places.tensor_split(3)]
            where = ("upper", "middle", "lower")[thirds.index(max(thirds))]
            found.append(f"{name} changes most in the {where} third")
        alt = (
            f"One face, decoded with {amounts[0]:+g} to {amounts[-1]:+g} times the attribute vector of "
            f"{', '.join(attributes)} added to its code, a row each: {', '.join(found)}."
        )
        return show.rows(rows, alt)


class Follower:
    """Draws after changes, the newest state, at most once in ``PAUSE`` seconds. ``drawn``: how often."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self.draw, self.drawn, self._waiting, self._last = draw, 0, False, 0.0

    def now(self) -> None:
        """Draw at once."""
        self._last, self._waiting = time.perf_counter(), False
        self.draw()
        self.drawn += 1

    def changed(self, _: object = None) -> None:
        """Draw soon."""
        # A slider that is dragged sends more events than there are pictures to see. They are not queued: the
        # first one books a picture, and that picture shows the newest state.
        if self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no event loop: a script or a test
            self.now()
            return
        self._waiting = True
        loop.call_later(max(0.0, self._last + PAUSE - time.perf_counter()), self.now)


def turn(draw: Callable[..., show.Shown], **knobs: tuple[float, float, float, float]) -> ipywidgets.VBox:
    """The figure draw(name=value, ...) under a slider a name, and it follows them. Value of a cell.

    knobs: name = (lowest, highest, step, start). In place of ``ipywidgets.interact``, which cuts long names
    off and draws every value that a dragged slider passes, however late.
    """
    import ipywidgets as w

    sliders = {name: _slider(name, *ends, ".2f") for name, ends in knobs.items()}
    picture = w.HTML()

    def redraw() -> None:
        shown = draw(**{name: one.value for name, one in sliders.items()})
        picture.layout.min_height = f"{shown.figure.bbox.height:.0f}px"  # or the page jumps with each picture
        picture.value = shown.html(small=False)

    follower = Follower(redraw)
    for one in sliders.values():
        one.observe(follower.changed, "value")
    follower.now()
    return w.VBox([*sliders.values(), picture])


def _slider(
    tag: str, low: float, high: float, step: float, start: float, form: str
) -> ipywidgets.FloatSlider:
    import ipywidgets as w

    style, layout = {"description_width": "11em"}, w.Layout(width="99%")
    ends = {"min": low, "max": high, "step": step, "readout_format": form}
    return w.FloatSlider(start, description=tag, style=style, layout=layout, **ends)


class Explorer:
    """Sliders beside a picture that follows them. Display it as the last value of a cell.

    attributes: names with a slider each. latents: numbers of latents with a slider each. Where a front end
    answers, the still grid folds away above the sliders; where none does, it stays as it is.
    """

    def __init__(self, space: Space, attributes: Sequence[str], latents: Sequence[int] = ()) -> None:
        import ipywidgets as w

        self.space, self.attributes = space, tuple(attributes)
        wide, tags = w.Layout(width="99%"), {"description_width": "11em"}
        self.face = w.IntSlider(0, min=0, max=len(space.mu) - 1, description="face", style=tags, layout=wide)
        self.amounts = {name: _slider(name, -3, 3, 0.1, 0, "+.1f") for name in attributes}
        self.shifts = {number: _slider(f"latent {number}", -5, 5, 0.1, 0, "+.1f") for number in latents}
        self.image = w.Image(format="png", layout=w.Layout(max_width="100%", align_self="center"))
        self.numbers = w.HTML()
        self.reset = w.Button(description="Back to the start", tooltip="All sliders but the face's to 0")
        self.reset.on_click(lambda _: self._zero())
        self.sliders = [self.face, *self.amounts.values(), *self.shifts.values()]
        self.follower = Follower(self.draw)
        for one in self.sliders:
            one.observe(self.follower.changed, "value")
        caption = w.HTML(f"left: the face to start from &nbsp; right: what the sliders make of it<br>{HELP}")
        self.widget = w.VBox([self.image, self.numbers, *self.sliders, self.reset, caption])
        self.follower.now()

    @property
    def state(self) -> State:
        """What the sliders say now."""
        return State(
            self.face.value,
            {name: one.value for name, one in self.amounts.items() if one.value},
            {number: one.value for number, one in self.shifts.items() if one.value},
        )

    def draw(self) -> None:
        """Show the picture and the numbers of the sliders' state."""
        start, state = time.perf_counter(), self.state
        pair = self.space.pair(state)  # drawn once, for the picture and the numbers
        self.image.value = self.space.png(state, pair=pair)
        milliseconds = 1000 * (time.perf_counter() - start)
        numbers = f"{self.space.read_out(state, pair)}; drawn in {milliseconds:.0f} ms"
        self.numbers.value = f'<span role="status">{numbers}</span>'

    def _zero(self) -> None:
        for one in self.sliders[1:]:
            one.value = 0

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        still = self.space.grid(self.attributes[:2], (-2, 0, 2))
        place = display(still, display_id=True)
        self.widget._view_count = 0  # a front end that shows the widget counts its views and tells us

        def answered(change: dict) -> None:
            if change["new"] and place is not None:
                # Folded away and not gone: a notebook that is saved now may be read where nothing answers.
                summary = "<summary>Still pictures, for readers without sliders</summary>"
                place.update(HTML(f"<details>{summary}{still._repr_html_()}</details>"))

        self.widget.observe(answered, "_view_count")
        display(self.widget)
