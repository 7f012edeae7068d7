"""Draws bytes over time, and the moves, as SVG: one panel a transfer, a colour a host."""
from xml.sax.saxutils import escape

COLOURS = {"hostA": "#2166ac", "hostB": "#1b7837", "hostC": "#b35806"}
WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 960, 330, 70, 30, 56, 46


class Panel:
    """`samples`: (second, bytes), `moves`: (second, from, to, freeze in µs), the first host is that
    of the first move."""

    def __init__(self, title, samples, moves):
        self.title, self.samples, self.moves = title, samples, moves

    def draw(self, top):
        end, size = self.samples[-1]
        plot_width, plot_height = WIDTH - LEFT - RIGHT, PANEL - TOP - BOTTOM

        def x(second):
            return LEFT + plot_width * second / end

        def y(count):
            return top + TOP + plot_height * (1 - count / size)

        bottom = y(0)
        out = [f'<text x="{LEFT}" y="{top + 22}" class="title">{escape(self.title)}</text>']
        for part in range(5):
            count = size * part // 4
            out.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(count):.1f}" '
                f'y2="{y(count):.1f}" class="grid"/>'
            )
            out.append(
                f'<text x="{LEFT - 8}" y="{y(count) + 4:.1f}" class="end">{count >> 20} MiB</text>'
            )
        step = max(1, round(end / 8))
        for second in range(0, int(end) + 1, step):
            out.append(
                f'<text x="{x(second):.1f}" y="{bottom + 18:.1f}" class="middle">{second} s</text>'
            )
        hosts = [self.moves[0][1]] + [move[2] for move in self.moves]
        borders = [0.0] + [move[0] for move in self.moves] + [end]
        for host, begin, until in zip(hosts, borders, borders[1:]):
            points = " ".join(
                f"{x(second):.1f},{y(count):.1f}" for second, count in self._between(begin, until)
            )
            out.append(
                f'<polyline points="{points}" fill="none" stroke="{COLOURS[host]}" '
                'stroke-width="2.5"/>'
            )
            out.append(
                f'<text x="{(x(begin) + x(until)) / 2:.1f}" y="{bottom + 36:.1f}" '
                f'class="middle" style="fill:{COLOURS[host]}">{host}</text>'
            )
        for second, source, target, freeze in self.moves:
            out.append(
                f'<line x1="{x(second):.1f}" x2="{x(second):.1f}" y1="{top + TOP - 8}" '
                f'y2="{bottom:.1f}" class="move"/>'
            )
            out.append(
                f'<text x="{x(second):.1f}" y="{top + TOP - 13}" class="middle">{source} → '
                f"{target}, frozen {freeze} µs</text>"
            )
        return out

    def _between(self, begin, until):
        """The samples of one host, joined to its neighbours'."""
        inside = [sample for sample in self.samples if begin <= sample[0] <= until]
        before = [sample for sample in self.samples if sample[0] < begin]
        return (before[-1:] if begin else [(0.0, 0)]) + inside


def draw(panels):
    style = (
        "text{font:13px sans-serif;fill:#222} .title{font-weight:bold;font-size:15px} "
        ".end{text-anchor:end;fill:#666} "
        ".middle{text-anchor:middle} .grid{stroke:#ddd} .move{stroke:#c00;stroke-dasharray:4 3}"
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{PANEL * len(panels)}"><style>{style}</style>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        out += panel.draw(number * PANEL)
    return "\n".join([*out, "</svg>", ""])
