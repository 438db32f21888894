# SPDX-License-Identifier: BSD-3-Clause
"""chart.py - the charts of docs/ as SVG, without any library"""
import html
import math

FONT = "font-family='sans-serif' font-size='11'"
MET, MISSED, PLAIN, INK, FAINT = "#2a7f62", "#c0562f", "#7a8ba6", "#222222", "#cccccc"


def text(x, y, words, anchor="start", more=""):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{INK}' {FONT} {more}>"
            f"{html.escape(str(words))}</text>")


def line(x1, y1, x2, y2, colour=FAINT, width=1):
    return (f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
            f"stroke-width='{width}'/>")


def document(width, height, parts):
    return "\n".join([f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
                      f"viewBox='0 0 {width} {height}'>",
                      "<rect width='100%' height='100%' fill='white'/>", *parts, "</svg>", ""])


LEFT, RIGHT, STEP, LEAST, MOST = 290, 700, 16, 0.25, 8


def place(value):
    """Where a ratio is, on a scale whose steps double."""
    value = min(max(value, LEAST), MOST)
    return LEFT + (RIGHT - LEFT) * math.log(value / LEAST) / math.log(MOST / LEAST)


def bar(y, row, said):
    """A row's bar from 1, its spread, its target, its share of processor time."""
    rate, least, most = said["rate"]
    colour = PLAIN if not said["met"] else MET if all(said["met"]) else MISSED
    x = sorted((place(1), place(rate)))
    middle = y + STEP / 2
    parts = [text(LEFT - 8, y + 12, row["name"], "end"),
             f"<rect x='{x[0]:.1f}' y='{y + 3}' width='{max(x[1] - x[0], 1):.1f}' "
             f"height='{STEP - 6}' fill='{colour}'/>",
             line(place(least), middle, place(most), middle, INK)]
    if row["rate"]:
        parts.append(line(place(row["rate"]), y + 1, place(row["rate"]), y + STEP - 1, INK, 2))
    cpu = f", processor time {said['cpu'][0]:.2f}" if said["cpu"] else ""
    parts.append(text(RIGHT + 8, y + 12, f"{rate:.2f}{cpu}"))
    return parts


def bars(rows):
    """rows: of (row, verdict)"""
    parts = [text(12, 18, "Operations a second, virtiod to the best peer of each row, and "
                  "processor time of an operation", more="font-weight='bold'"),
             text(12, 34, "black mark: target; thin line: least and greatest of single rounds; "
                  "green: target reached, red: missed, grey: for orientation")]
    y, group = 42, None
    for row, said in rows:
        if row["group"] != group:
            group = row["group"]
            y += STEP
            parts.append(text(12, y + 12, group, more="font-weight='bold'"))
            y += STEP
        parts += bar(y, row, said)
        y += STEP
    grid = []
    for value in 0.25, 0.5, 1, 2, 4, 8:
        grid.append(line(place(value), 48, place(value), y, INK if value == 1 else FAINT))
        grid.append(text(place(value), y + 14, f"{value}x", "middle"))
    return document(860, y + 24, grid + parts)


def plot(left, top, width, height, table):
    """The last column of a table over its first, both on scales whose steps double."""
    points = [(float(table["x"][i]), float(table["y"][i])) for i in range(len(table["x"]))]
    points = [(x, y) for x, y in points if x > 0 and y > 0]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    top_y, low_y = max(ys) * 2, min(ys) / 2

    def at(x, y):
        across = math.log(x / min(xs)) / max(math.log(max(xs) / min(xs)), 1e-9)
        up = math.log(y / low_y) / math.log(top_y / low_y)
        return left + across * width, top + height - up * height

    parts = [text(left, top - 8, table["title"], more="font-weight='bold'"),
             line(left, top, left, top + height, INK),
             line(left, top + height, left + width, top + height, INK)]
    for x, y, label, shown in zip(xs, ys, table["labels"], table["shown"]):
        px, py = at(x, y)
        parts += [f"<circle cx='{px:.1f}' cy='{py:.1f}' r='3' fill='{MET}'/>",
                  text(px, py - 7, shown, "middle"), text(px, top + height + 14, label, "middle")]
    path = " ".join(f"{'ML'[i > 0]}{at(x, y)[0]:.1f} {at(x, y)[1]:.1f}"
                    for i, (x, y) in enumerate(points))
    parts.append(f"<path d='{path}' fill='none' stroke='{MET}'/>")
    parts.append(text(left + width, top + height + 28, table["axis"], "end"))
    return parts


def plots(tables):
    """Two beside each other."""
    parts = []
    drawn = [table for table in tables if table.get("x")]
    for i, table in enumerate(drawn):
        parts += plot(40 + i % 2 * 420, 40 + i // 2 * 190, 360, 110, table)
    return document(860, 40 + (len(drawn) + 1) // 2 * 190, parts)
