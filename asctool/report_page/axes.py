"""A pair of axes as inline SVG: data coordinates in, pixels of the viewBox out; colours are classes of style.css."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 10.0, 36.0  # margins: room for the labels
STEPS = (1, 2, 2.5, 5, 10)  # of ticks, times a power of ten


@dataclass(frozen=True)
class Axes:
    """Ranges of both axes in data units; the whole figure is ``width`` x ``height`` pixels of its viewBox."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 300.0
    height: float = 200.0

    def at_x(self, value: float) -> float:
        """Pixels from the left."""
        first, last = self.x
        return LEFT + (value - first) / (last - first) * (self.width - LEFT - RIGHT)

    def at_y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def path(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> Markup:
        """A line through points; it breaks where a value is not finite."""
        words, pen = [], "M"
        for x, y in zip(xs, ys):
            if math.isfinite(y):
                words.append(f"{pen}{self.at_x(x):.1f} {self.at_y(y):.1f}")
            pen = "L" if math.isfinite(y) else "M"
        return Markup('<path class="line {}" d="{}"/>').format(kind, "".join(words))

    def bar(self, x: tuple[float, float], y: tuple[float, float], kind: str, told: str = "") -> Markup:
        """A rectangle between two values of each axis, with what it says when pointed at."""
        left, right = (self.at_x(value) for value in x)
        low, high = (self.at_y(value) for value in sorted(y))
        note = Markup("<title>{}</title>").format(told) if told else ""
        return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">{}</rect>').format(
            kind, left, high, right - left, low - high, note
        )

    def above(self, x: float, text: str) -> Markup:
        """A word at the upper edge."""
        return Markup('<text class="count middle" x="{:.1f}" y="{:.1f}">{}</text>').format(self.at_x(x), TOP - 2, text)

    def draw(self, marks: Sequence[Markup], title: str, x_label: str, y_label: str, percent: bool = False) -> Markup:
        """The whole figure; ``title`` is what a screen reader says of it."""
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        grid = []
        for value in ticks(*self.y):
            y, text = self.at_y(value), f"{100 * value:.0f}" if percent else f"{value:g}"
            grid.append(Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>').format(LEFT, y, right))
            grid.append(
                Markup('<text class="tick end" x="{:.1f}" y="{:.1f}">{}</text>').format(LEFT - 6, y + 3.5, text)
            )
        for value in ticks(*self.x):
            x = self.at_x(value)
            grid.append(
                Markup('<text class="tick middle" x="{:.1f}" y="{:.1f}">{:g}</text>').format(x, bottom + 15, value)
            )
        labels = Markup('<text class="label middle" x="{:.1f}" y="{:.1f}">{}</text>').format(
            (LEFT + right) / 2, self.height - 4, x_label
        ) + Markup('<text class="label middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>').format(
            (TOP + bottom) / 2, y_label
        )
        frame = Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>').format(LEFT, bottom, right)
        return Markup('<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}{}{}{}</svg>').format(
            self.width, self.height, title, Markup("").join(grid), Markup("").join(marks), frame, labels
        )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from low to high."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]
