"""The plots of report.py, drawn from what the benches write as JSON. The same JSON gives the same bytes.

Each function takes the results of one bench and the lines to put below the plot, and returns an SVG. Text is drawn as
paths and the background is white, so that a plot looks the same everywhere, on a dark page too.
"""

import io
import re
import textwrap

import matplotlib
from matplotlib.figure import Figure

import bulk
import connection
import sign

_WIDTH_IN = 8  # 768 pixels in a browser, about the width of a README
_HEAD_IN = 0.62
_FOOT_LINE_IN = 0.145
_FOOT_CHARACTERS = 142
_STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "opensearch-sigv4",
    "font.family": "DejaVu Sans",  # matplotlib brings it
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
}
_GREY = "#555555"
# Okabe and Ito's colours, which the colour-blind can tell apart.
_BLUE, _SKY, _GREEN, _YELLOW = "#0072b2", "#56b4e9", "#009e73", "#f0e442"
_ORANGE, _RED, _PURPLE = "#e69f00", "#d55e00", "#cc79a7"
_LINES = {  # row of sign.py: colour, marker, style
    sign.OPENSEARCH_PY: (_RED, "o", "-"),
    sign.BOTOCORE: (_ORANGE, "s", "-"),
    sign.REQUESTS_AWS4AUTH: (_PURPLE, "^", "-"),
    sign.AWSCRT: (_GREEN, "D", "-"),
    sign.AWSCRT_HASHED: (_GREEN, "d", ":"),
    sign.PYTHON: (_SKY, "v", "-"),
    sign.CYTHON: (_BLUE, "o", "-"),
    sign.FLOOR: ("black", "", "--"),
}
_BULK_ROWS = {bulk.SIGNED: _RED, bulk.CONNECTION: _GREEN, bulk.PYTHON: _SKY, bulk.CYTHON: _BLUE}
_LABELS_IN = 1.75  # where bars begin
_PANELS_IN = ((_LABELS_IN, 4.7), (4.9, 7.85))


def named(row, versions):
    """A row's name with the version of the package that it is of."""
    row = row.replace("ours", "opensearch-sigv4", 1) if row.startswith("ours") else row
    package = max((name for name in versions if row.startswith(name)), key=len, default=None)
    return row.replace(package, f"{package} {versions[package]}", 1) if package else row


def _sheet(title, subtitle, foot, plot_in, over_in=0.0):
    """A figure with its texts, and a function that adds axes to it: from and to in inches from the left.

    `over_in` is left free between the texts and the axes.
    """
    lines = [line for text in foot for line in textwrap.wrap(text, _FOOT_CHARACTERS)]
    foot_in = 0.12 + _FOOT_LINE_IN * len(lines)
    height_in = _HEAD_IN + over_in + plot_in + foot_in
    figure = Figure((_WIDTH_IN, height_in), facecolor="white")
    figure.text(0.12 / _WIDTH_IN, 1 - 0.12 / height_in, title, va="top", fontsize=11, weight="bold")
    figure.text(0.12 / _WIDTH_IN, 1 - 0.36 / height_in, subtitle, va="top", color=_GREY)
    for number, line in enumerate(lines):
        top = (foot_in - 0.06 - _FOOT_LINE_IN * number) / height_in
        figure.text(0.12 / _WIDTH_IN, top, line, va="top", fontsize=7.2, color=_GREY)

    def add_axes(left_in, right_in):
        box = (left_in / _WIDTH_IN, (foot_in + 0.5) / height_in)
        return figure.add_axes((*box, (right_in - left_in) / _WIDTH_IN, (plot_in - 0.5) / height_in))

    return figure, add_axes


def _svg(figure):
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def draw(plot, *arguments):
    """The SVG of one of the functions below, whatever this machine's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        return _svg(plot(*arguments))


def sign_by_size(results, foot):
    """CPU time of a signature by the size of the body."""
    sizes = {int(size): rows for size, rows in results["sizes"].items()}
    figure, add_axes = _sheet(
        "What one signature costs, by size of the body",
        f"POST with a {len(sign.TOKEN)}-character session token, warm key, one thread; {_best_of(results['sizes'])}",
        foot,
        4.1,
    )
    axes = add_axes(0.75, 5.35)
    first = next(iter(sizes.values()))
    shown = [row for row in _LINES if row in first]
    for row in sorted(shown, key=lambda row: -first[row]["cpu_us"]["min"]):
        colour, marker, style = _LINES[row]
        times = [rows[row]["cpu_us"]["min"] for rows in sizes.values()]
        label = named(row, results["versions"]) if row != sign.FLOOR else "its SHA-256 blocks alone, by hashlib"
        axes.loglog(
            list(sizes), times, style, color=colour, marker=marker, markersize=4.5, linewidth=1.6, label=_wrapped(label)
        )
    axes.set_xticks(list(sizes), [sign.size_in_words(size) for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda us, _: f"{us:,g}")
    axes.grid(visible=True)
    axes.set(xlabel="size of the body (log)", ylabel="microseconds of CPU per signature (log)")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, labelspacing=0.9)
    return figure


def bulk_rates(results, foot):
    """Documents per second of client CPU, plain and gzip."""
    documents = results["documents"]
    size = documents["bytes"] / documents["count"]
    figure, add_axes = _sheet(
        "Bulk: documents that one second of client CPU indexes",
        f"helpers.bulk, signed, {documents['count']:,} documents of {size:.0f} bytes, every answer read and checked; "
        f"{_best_of(results['encodings'])}",
        foot,
        2.5,
        over_in=0.2,
    )
    encodings = results["encodings"]
    rows = [row for row in _BULK_ROWS if row in encodings["plain"]]
    rates = {encoding: [1e6 / found[row]["cpu_us"]["min"] for row in rows] for encoding, found in encodings.items()}
    colours = [_BULK_ROWS[row] for row in rows]
    for encoding, (left_in, right_in) in zip(bulk.ENCODINGS, _PANELS_IN, strict=True):
        axes = add_axes(left_in, right_in)
        axes.barh(range(len(rows)), rates[encoding], color=colours, height=0.62)
        for number, rate in enumerate(rates[encoding]):
            text = f" {rate:,.0f}  ({rate / rates[encoding][0]:.1f}x)"
            axes.text(rate, number, text, va="center", fontsize=8)
        axes.set_title(encoding, loc="left", fontsize=9, weight="bold")
        _finish_bars(axes, max(map(max, rates.values())) * 1.62, "documents per second of CPU")
        labels = (
            [_wrapped(named(row, results["versions"])) for row in rows] if encoding == "plain" else [""] * len(rows)
        )
        axes.set_yticks(range(len(rows)), labels)
    return figure


def sign_in_threads(results, foot):
    """Signatures per second with 1, 2 and 4 threads, of a small and of a large body."""
    figure, add_axes = _sheet(
        "Signatures per second with 1, 2 and 4 threads",
        f"wall time, on {results['cores']} cores: more threads than that cannot be faster; "
        f"{_best_of(results['threads'])}",
        foot,
        5.2,
        over_in=0.2,
    )
    for case, (left_in, right_in) in zip((sign.MAIN, sign.LARGE), _PANELS_IN, strict=True):
        found = results["threads"][str(case)]
        rows = [row for row in _LINES if row in found]
        rates = {row: [1e6 / found[row][str(count)]["wall_us"]["min"] for count in sign.THREADS] for row in rows}
        axes = add_axes(left_in, right_in)
        for number, row in enumerate(rows):
            for place, (count, rate) in enumerate(zip(sign.THREADS, rates[row], strict=True)):
                y = number + (place - 1) * 0.26
                axes.barh(y, rate, color=_paler(_LINES[row][0], 0.3 * place), height=0.24)
                text = f" {count}: {rate:,.0f}" + (f"  ({rate / rates[row][0]:.2f}x)" if place else "")
                axes.text(rate, y, text, va="center", fontsize=7)
        axes.set_title(f"body of {sign.size_in_words(case.size)}", loc="left", fontsize=9, weight="bold")
        _finish_bars(axes, max(map(max, rates.values())) * 1.62, "signatures per second")
        labels = [_wrapped(named(row, results["versions"])) for row in rows] if case == sign.MAIN else [""] * len(rows)
        axes.set_yticks(range(len(rows)), labels)
    return figure


def layers(results):
    """{bar: [(layer, microseconds)]} of one signed request over http: what a row takes more than the one inside it."""
    rows = {row: result["cpu_us"]["min"] for row, result in results["schemes"]["http"].items()}

    def of_ours(signed, client):
        return {"socket": connection.RAW, _OUR_HTTP: connection.UNSIGNED, "signature": signed, _CLIENT: client}

    bars = {
        sign.OPENSEARCH_PY: {
            "socket": connection.RAW,
            "http.client": connection.HTTP_CLIENT,
            "urllib3's urlopen": connection.URLOPEN,
            "opensearch-py's connection": connection.OPENSEARCH_PY,
            "signature": connection.OPENSEARCH_PY_SIGNED,
            _CLIENT: connection.CLIENT_OPENSEARCH_PY,
        },
        sign.PYTHON: of_ours(connection.PYTHON, connection.CLIENT_PYTHON),
        sign.CYTHON: of_ours(connection.CYTHON, connection.CLIENT_CYTHON),
    }
    found = {}
    for bar, row_of in bars.items():
        if all(row in rows for row in row_of.values()):
            totals = [rows[row] for row in row_of.values()]
            more = [total - inner for total, inner in zip(totals, [0, *totals], strict=False)]
            found[bar] = list(zip(row_of, more, strict=True))
    return found


_OUR_HTTP = "ours: HTTP, urlopen and connection"
_CLIENT = "opensearch-py's client, JSON"
_LAYERS = {  # colour, and that of the number in it
    "socket": ("black", "white"),
    "http.client": (_BLUE, "white"),
    "urllib3's urlopen": (_SKY, "black"),
    "opensearch-py's connection": (_GREEN, "white"),
    _OUR_HTTP: (_YELLOW, "black"),
    "signature": (_RED, "white"),
    _CLIENT: ("#bbbbbb", "black"),
}


def one_request(results, foot):
    """Where the time of one signed request goes."""
    figure, add_axes = _sheet(
        "Where the client's CPU time of one signed request goes",
        f"POST of 1 KB, answer of 300 bytes, http, one connection that stays open; {_best_of(results['schemes'])}",
        ["Each layer is the difference of two rows of bench/connection.py, in one run.", *foot],
        2.5,
        over_in=0.65,
    )
    axes = add_axes(_LABELS_IN, 7.85)
    bars = layers(results)
    longest = max(sum(us for _, us in found) for found in bars.values())
    for number, found in enumerate(bars.values()):
        start = 0.0
        for layer, us in found:
            if us > 0:
                colour, ink = _LAYERS[layer]
                axes.barh(number, us, left=start, color=colour, height=0.55)
                if us > 0.035 * longest:
                    axes.text(start + us / 2, number, f"{us:.0f}", ha="center", va="center", color=ink, fontsize=8)
            start += us
        axes.text(start, number, f"  {start:.0f}", va="center", weight="bold")
    handles = [matplotlib.patches.Patch(color=colour, label=layer) for layer, (colour, _) in _LAYERS.items()]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=8)
    axes.set_yticks(range(len(bars)), [_wrapped(named(bar, results["versions"])) for bar in bars])
    _finish_bars(axes, longest * 1.08, "microseconds of CPU per request")
    return figure


def _finish_bars(axes, limit, label):
    axes.set_xlim(0, limit)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(visible=True, axis="x")
    axes.set_xlabel(label)


def _paler(colour, share):
    """The colour, mixed with this share of white."""
    return [part + (1 - part) * share for part in matplotlib.colors.to_rgb(colour)]


def _wrapped(label):
    """In two lines, the first of which is the package."""
    return re.sub(r", | (?=\()", "\n", label, count=1)


def _best_of(tables):
    """The rounds, which all rows of a table have alike."""
    (found, *_) = tables.values()
    (row, *_) = found.values()
    rounds = row["rounds"] if "rounds" in row else row["1"]["rounds"]
    return f"best of {rounds} round{'s' if rounds > 1 else ''}"
