"""Perplexity against speed as SVG text: each point a row, its area the memory."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 48, 60
COLOURS = {"collm": "#0f766e"}
OTHER = "#94a3b8"


def ticks(low, high, count=5):
    """Round numbers between low and high."""
    rough = (high - low) / count
    step = 10 ** math.floor(math.log10(rough))
    step *= next(m for m in (1, 2, 5, 10) if m * step >= rough)
    first = math.ceil(low / step)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) / step) + 1)]


def scale(low, high, start, end):
    return lambda v: start + (v - low) / (high - low) * (end - start)


def bounds(values, room):
    low, high = min(values), max(values)
    margin = (high - low or 1) * room
    return low - margin, high + margin


def pareto(title, points):
    """points: name, engine, tokens a second, perplexity, bytes. Best: right and down."""
    x_low, x_high = 0, max(p["speed"] for p in points) * 1.18
    y_low, y_high = bounds([p["perplexity"] for p in points], 0.15)
    x = scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    y = scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    most = max(p["bytes"] for p in points)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="26" font-size="15">{escape(title)}</text>']
    for v in ticks(x_low, x_high):
        out += [f'<line x1="{x(v):.1f}" y1="{TOP}" x2="{x(v):.1f}" y2="{HEIGHT - BOTTOM}" '
                'stroke="#e2e8f0"/>',
                f'<text x="{x(v):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{v:g}'
                '</text>']
    for v in ticks(y_low, y_high):
        out += [f'<line x1="{LEFT}" y1="{y(v):.1f}" x2="{WIDTH - RIGHT}" y2="{y(v):.1f}" '
                'stroke="#e2e8f0"/>',
                f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>']
    for p in sorted(points, key=lambda p: -p["bytes"]):
        radius = 22 * math.sqrt(p["bytes"] / most)
        out += [f'<circle cx="{x(p["speed"]):.1f}" cy="{y(p["perplexity"]):.1f}" '
                f'r="{radius:.1f}" fill="{COLOURS.get(p["engine"], OTHER)}" fill-opacity="0.55" '
                'stroke="white"/>',
                f'<text x="{x(p["speed"]):.1f}" y="{y(p["perplexity"]) - radius - 4:.1f}" '
                f'text-anchor="middle">{escape(p["name"])}, {p["bytes"] / 2**20:.0f} MiB</text>']
    out += [f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 16}" text-anchor="middle">'
            'tokens a second (right is better); area: peak memory</text>',
            f'<text x="18" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
            f'transform="rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})">perplexity (down is better)'
            '</text>', "</svg>"]
    return "\n".join(out) + "\n"
