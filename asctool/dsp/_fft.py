"""Power spectra of real frames by a mixed-radix FFT, compiled for each length; docs/decisions/0008 says why it is ours.

Stockham's order: each pass goes from one buffer to the other; a buffer is its real and its imaginary parts, (point,)
each. A pass is a loop over points that lie side by side, which LLVM turns into vector code where it knows how far
apart the operands of a butterfly are: these distances are constants, made by the functions that end in ``_pass``.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numba import types
from numba.extending import overload

from asctool.dsp._compiled import INLINED, TO_FILL, VALUES, inlined, kept

LARGEST = 8192  # points of a frame: longer ones leave the first-level cache, and their tables are slow to compile
QUARTER, HALF, SIN_45, SIN_60 = (np.float32(value) for value in (0.25, 0.5, 0.5**0.5, 0.75**0.5))
COS_72, COS_144 = (np.float32(np.cos(np.radians(angle))) for angle in (72, 144))
SIN_72, SIN_144 = (np.float32(np.sin(np.radians(angle))) for angle in (72, 144))
Kernel = Callable[[np.ndarray, int, int, np.ndarray, np.ndarray], None]


def fits(length: int) -> bool:
    """Whether ``power_kernel`` takes frames of this many points: multiples of 16 with no prime factor above 5."""
    return 0 < length <= LARGEST and length % 16 == 0 and set(_radices(length)) <= set(_PASSES)


@lru_cache(maxsize=64)
def power_kernel(length: int) -> Kernel:
    """A function (samples, begin, hop, window, power) that fills power (frame, bin); the first frame is at ``begin``.

    Even and odd points of a frame are transformed as the real and imaginary parts of one sequence of half the length.
    """
    half = length // 2
    ends_in_second = len(_radices(half)) % 2 == 1

    def fill(samples, begin, hop, window, power):  # type: ignore[no-untyped-def]
        frame = np.zeros(length, np.float32)
        parts = np.empty((4, half), np.float32)
        first, second = (parts[0], parts[1]), (parts[2], parts[3])
        for row in range(len(power)):
            cut_out(samples, begin + row * hop, window, frame)
            for j in range(half):
                first[0][j], first[1][j] = frame[2 * j], frame[2 * j + 1]
            _transform(first, second, 1, half, 1)  # type: ignore[no-untyped-call]
            _sum_squares(second if ends_in_second else first, power[row], half)  # type: ignore[no-untyped-call]

    # The linker knows compiled functions by name, types and a number that every process counts from one: without its
    # length in the name, kernels of two lengths that two processes put into the cache would bear one name.
    fill.__qualname__ += f"_{length}"
    return kept(VALUES, types.int64, types.int64, VALUES, TO_FILL)(fill)


@inlined
def cut_out(samples, start, window, frame):  # type: ignore[no-untyped-def]
    """Fill the beginning of ``frame`` with windowed samples, beyond the clip's ends with zeros."""
    length = len(window)
    inside = min(max(0, -start), length)
    outside = max(inside, min(length, len(samples) - start))
    heard = samples[start + inside : start + outside]  # a slice: indices that may be negative are not vectorised
    filled, weights = frame[inside:outside], window[inside:outside]
    for j in range(len(heard)):
        filled[j] = heard[j] * weights[j]
    frame[:inside] = 0
    frame[outside:length] = 0


def _radices(length: int) -> list[int]:
    """The passes of a transform, eight-fold ones first: they leave eight points side by side to the next.

    The last one is what is left of a length that cannot be transformed here.
    """
    radices = []
    while length > 1:
        radices.append(next((radix for radix in _PASSES if length % radix == 0), length))
        length //= radices[-1]
    return radices


def _transform(x, y, stride, left, side_by_side):  # type: ignore[no-untyped-def]
    """Passes from ``x`` to ``y`` and back: ``left`` points are yet to be transformed, in ``stride`` sequences."""
    raise NotImplementedError  # this is its name for compiled code alone


@overload(_transform, prefer_literal=True, jit_options=INLINED)  # type: ignore[arg-type]
def _compile_transform(x, y, stride, left, side_by_side):  # type: ignore[no-untyped-def]
    length, n_sequences = left.literal_value, stride.literal_value
    radix = _radices(length)[0]
    run_pass = inlined(_PASSES[radix](length, n_sequences))
    rest, more = length // radix, n_sequences * radix

    def last(x, y, stride, left, side_by_side):  # type: ignore[no-untyped-def]
        run_pass(x, y, side_by_side)

    def first(x, y, stride, left, side_by_side):  # type: ignore[no-untyped-def]
        run_pass(x, y, side_by_side)
        _transform(y, x, more, rest, side_by_side * radix)  # type: ignore[no-untyped-call]

    return last if rest == 1 else first


def _sum_squares(z, power, half):  # type: ignore[no-untyped-def]
    """Power of a real sequence, (half + 1,), from the transform of its even (real) and odd (imaginary) points."""
    raise NotImplementedError


@overload(_sum_squares, prefer_literal=True, jit_options=INLINED)  # type: ignore[arg-type]
def _compile_sum_squares(z, power, half):  # type: ignore[no-untyped-def]
    n = half.literal_value
    real, imag = _turns(np.arange(n), 2 * n)

    def run(z, power, half):  # type: ignore[no-untyped-def]
        re, im = z
        low, high = re[0] + im[0], re[0] - im[0]
        power[0], power[n] = low * low, high * high
        for j in range(1, n):
            k = n - j
            even_re, even_im = re[j] + re[k], im[j] - im[k]
            odd_re, odd_im = im[j] + im[k], re[k] - re[j]
            sum_re = even_re + odd_re * real[j] - odd_im * imag[j]
            sum_im = even_im + odd_re * imag[j] + odd_im * real[j]
            power[j] = (sum_re * sum_re + sum_im * sum_im) * QUARTER

    return run


def _turns(points: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and minus sine of 2 pi points / length."""
    turned = np.exp(-2j * np.pi * points / length)
    return turned.real.astype(np.float32), turned.imag.astype(np.float32)


@inlined
def _at(z, i):  # type: ignore[no-untyped-def]
    return complex(z[0][i], z[1][i])


@inlined
def _put(z, i, value):  # type: ignore[no-untyped-def]
    z[0][i], z[1][i] = value.real, value.imag


@inlined
def _turned(value, turns, p):  # type: ignore[no-untyped-def]
    return value * complex(turns[0][p], turns[1][p])


@inlined
def _quarter(value):  # type: ignore[no-untyped-def]
    """A quarter turn back: -i times the value."""
    return complex(value.imag, -value.real)


@inlined
def _two(a, b):  # type: ignore[no-untyped-def]
    return a + b, a - b


@inlined
def _three(a, b, c):  # type: ignore[no-untyped-def]
    both, side = b + c, _quarter((b - c) * SIN_60)
    middle = a - both * HALF
    return a + both, middle + side, middle - side


@inlined
def _four(a, b, c, d):  # type: ignore[no-untyped-def]
    even, even_less, odd, odd_less = a + c, a - c, b + d, _quarter(b - d)
    return even + odd, even_less + odd_less, even - odd, even_less - odd_less


@inlined
def _five(a, b, c, d, e):  # type: ignore[no-untyped-def]
    outer, inner, outer_less, inner_less = b + e, c + d, b - e, c - d
    one, two = a + outer * COS_72 + inner * COS_144, a + outer * COS_144 + inner * COS_72
    side = _quarter(outer_less * SIN_72 + inner_less * SIN_144)
    side_two = _quarter(outer_less * SIN_144 - inner_less * SIN_72)
    return a + outer + inner, one + side, two + side_two, two - side_two, one - side


@inlined
def _eight(a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    even = _four(a, c, e, g)
    p, q, r, s = _four(b, d, f, h)
    odd = p, (q + _quarter(q)) * SIN_45, _quarter(r), (_quarter(s) - s) * SIN_45
    return (
        *(even[0] + odd[0], even[1] + odd[1], even[2] + odd[2], even[3] + odd[3]),
        *(even[0] - odd[0], even[1] - odd[1], even[2] - odd[2], even[3] - odd[3]),
    )


def _plan(length: int, stride: int, radix: int) -> tuple[int, int, tuple[tuple[np.ndarray, np.ndarray], ...]]:
    """Butterflies of a pass, the distance of their operands, and the turns of their results but the first."""
    count = length // radix
    return count, count * stride, tuple(_turns(np.arange(count) * k, length) for k in range(1, radix))


def _two_pass(length: int, stride: int) -> Callable[..., None]:
    count, apart, (t1,) = _plan(length, stride, 2)

    def run(x, y, side_by_side):  # type: ignore[no-untyped-def]
        for p in range(count):
            for q in range(side_by_side):
                i, o = q + stride * p, q + 2 * stride * p
                a, b = _two(_at(x, i), _at(x, i + apart))
                _put(y, o, a)
                _put(y, o + stride, _turned(b, t1, p))

    return run


def _three_pass(length: int, stride: int) -> Callable[..., None]:
    count, apart, (t1, t2) = _plan(length, stride, 3)

    def run(x, y, side_by_side):  # type: ignore[no-untyped-def]
        for p in range(count):
            for q in range(side_by_side):
                i, o = q + stride * p, q + 3 * stride * p
                a, b, c = _three(_at(x, i), _at(x, i + apart), _at(x, i + 2 * apart))
                _put(y, o, a)
                _put(y, o + stride, _turned(b, t1, p))
                _put(y, o + 2 * stride, _turned(c, t2, p))

    return run


def _four_pass(length: int, stride: int) -> Callable[..., None]:
    count, apart, (t1, t2, t3) = _plan(length, stride, 4)

    def run(x, y, side_by_side):  # type: ignore[no-untyped-def]
        for p in range(count):
            for q in range(side_by_side):
                i, o = q + stride * p, q + 4 * stride * p
                a, b, c, d = _four(_at(x, i), _at(x, i + apart), _at(x, i + 2 * apart), _at(x, i + 3 * apart))
                _put(y, o, a)
                _put(y, o + stride, _turned(b, t1, p))
                _put(y, o + 2 * stride, _turned(c, t2, p))
                _put(y, o + 3 * stride, _turned(d, t3, p))

    return run


def _five_pass(length: int, stride: int) -> Callable[..., None]:
    count, apart, (t1, t2, t3, t4) = _plan(length, stride, 5)

    def run(x, y, side_by_side):  # type: ignore[no-untyped-def]
        for p in range(count):
            for q in range(side_by_side):
                i, o = q + stride * p, q + 5 * stride * p
                a, b, c, d, e = _five(
                    *(_at(x, i), _at(x, i + apart), _at(x, i + 2 * apart), _at(x, i + 3 * apart), _at(x, i + 4 * apart))
                )
                _put(y, o, a)
                _put(y, o + stride, _turned(b, t1, p))
                _put(y, o + 2 * stride, _turned(c, t2, p))
                _put(y, o + 3 * stride, _turned(d, t3, p))
                _put(y, o + 4 * stride, _turned(e, t4, p))

    return run


def _eight_pass(length: int, stride: int) -> Callable[..., None]:
    count, apart, (t1, t2, t3, t4, t5, t6, t7) = _plan(length, stride, 8)
    is_first = stride == 1  # then neighbours are those of the outer loop

    def run(x, y, side_by_side):  # type: ignore[no-untyped-def]
        for p in range(count):
            for q in range(1 if is_first else side_by_side):
                i, o = q + stride * p, q + 8 * stride * p
                a, b, c, d, e, f, g, h = _eight(
                    *(_at(x, i), _at(x, i + apart), _at(x, i + 2 * apart), _at(x, i + 3 * apart)),
                    *(_at(x, i + 4 * apart), _at(x, i + 5 * apart), _at(x, i + 6 * apart), _at(x, i + 7 * apart)),
                )
                _put(y, o, a)
                _put(y, o + stride, _turned(b, t1, p))
                _put(y, o + 2 * stride, _turned(c, t2, p))
                _put(y, o + 3 * stride, _turned(d, t3, p))
                _put(y, o + 4 * stride, _turned(e, t4, p))
                _put(y, o + 5 * stride, _turned(f, t5, p))
                _put(y, o + 6 * stride, _turned(g, t6, p))
                _put(y, o + 7 * stride, _turned(h, t7, p))

    return run


_PASSES = {8: _eight_pass, 5: _five_pass, 4: _four_pass, 3: _three_pass, 2: _two_pass}
