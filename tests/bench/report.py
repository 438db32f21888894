# SPDX-License-Identifier: BSD-3-Clause
"""report.py - ratios of medians, and the texts, tables and charts made of them"""
import dataclasses
import pathlib
import re
import statistics
import sys

import backends
import chart


def result(row, samples):
    """What is known of a row; JSON."""
    return {"row": dataclasses.asdict(row), "samples": samples, "syscalls": {}}


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def ratio(ours, theirs, key):
    """Of the medians, and the least and greatest of single rounds."""
    pairs = [a[key] / b[key] for a, b in zip(ours, theirs) if b[key]]
    if not pairs:
        return None
    return median(ours, key) / median(theirs, key), min(pairs), max(pairs)


def best(samples, begins, key, choose):
    names = [name for name in samples if any(name.lower().find(text.lower()) >= 0
                                             for text in begins)]
    return choose(names, key=lambda name: median(samples[name], key)) if names else None


def verdict(found):
    """The peer to beat, the ratios to it, and whether targets are met.

    A row without peers of its own is set beside the fastest of all others."""
    row, samples = found["row"], found["samples"]
    ours = samples[backends.OURS]
    others = [name for name in samples if name not in (backends.OURS, backends.HOST)]
    peer = best(samples, row["rate_peers"] or others, "ops_per_s", max)
    cheapest = best(samples, row["cpu_peers"] or others, "cpu_us_per_op", min)
    said = {"peer": peer, "rate": None, "cpu": None, "host": None}
    if peer:
        said["rate"] = ratio(ours, samples[peer], "ops_per_s")
        said["cpu"] = ratio(ours, samples[cheapest], "cpu_us_per_op")
        said["cpu_peer"] = cheapest
    if backends.HOST in samples:
        said["host"] = ratio(ours, samples[backends.HOST], "ops_per_s")
    checks = [(said["rate"], row["rate"], 1), (said["cpu"], row["cpu"], -1),
              (said["host"], row["host_rate"], 1)]
    said["met"] = [(value[0] - target) * sign >= 0 for value, target, sign in checks
                   if value and target]
    return said


def rate_text(per_second):
    return f"{per_second / 1000:.1f}k" if per_second >= 1000 else f"{per_second:.0f}"


def ratio_text(value, target, sign):
    if not value:
        return "-"
    text = f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"
    return text + (f", {'at least' if sign > 0 else 'at most'} {target}" if target else "")


def print_result(found):
    row, said = found["row"], verdict(found)
    ours = found["samples"][backends.OURS]
    mark = "" if not said["met"] else "  MET" if all(said["met"]) else "  MISSED"
    print(f"{row['group']}: {row['name']}: {rate_text(median(ours, 'ops_per_s'))}/s, "
          f"{median(ours, 'cpu_us_per_op'):.2f} us each{mark}")
    for name, samples in found["samples"].items():
        if name == backends.OURS:
            continue
        print(f"    {name:<24} rate {ratio_text(ratio(ours, samples, 'ops_per_s'), 0, 1):<24}"
              f" processor {ratio_text(ratio(ours, samples, 'cpu_us_per_op'), 0, -1)}")
    sys.stdout.flush()


def print_summary(run):
    verdicts = [(found, verdict(found)) for found in run["rows"]]
    judged = [(found, said) for found, said in verdicts if said["met"]]
    missed = [(found, said) for found, said in judged if not all(said["met"])]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} rows reach their targets, "
          f"in {run['seconds'] / 60:.1f} minutes")
    for found, said in missed:
        row = found["row"]
        print(f"  missed: {row['group']}: {row['name']}: rate "
              f"{ratio_text(said['rate'], row['rate'], 1)}; processor "
              f"{ratio_text(said['cpu'], row['cpu'], -1)}")
    if run["scale"]:
        print(scale_tables(run))
    for name, value, target, is_met in (run["scale"] or {}).get("targets", []):
        print(f"  {'met' if is_met else 'missed'}: {name}: {value} (target {target})")


# Documents.

def syscalls_text(found, said):
    counts = found["syscalls"]
    texts = [f"{counts[name]:.1f}" if counts.get(name) is not None else "-"
             for name in (backends.OURS, said["peer"])]
    return " / ".join(texts)


def table(run):
    lines = ["| row | virtiod | best peer | rate | processor time | system calls | |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    group = None
    for found in run["rows"]:
        row, samples, said = found["row"], found["samples"], verdict(found)
        if row["group"] != group:
            group = row["group"]
            lines.append(f"| **{group}** | | | | | | |")
        ours = samples[backends.OURS]
        peer = said["peer"]
        theirs = (f"{peer}: {rate_text(median(samples[peer], 'ops_per_s'))}/s, "
                  f"{median(samples[peer], 'cpu_us_per_op'):.1f} us" if peer else "-")
        rate = ratio_text(said["rate"], row["rate"], 1)
        if said["host"]:
            rate += f"; of the host's own {ratio_text(said['host'], row['host_rate'], 1)}"
        mark = "" if not said["met"] else "yes" if all(said["met"]) else "**no**"
        lines.append(f"| {row['name']} | {rate_text(median(ours, 'ops_per_s'))}/s, "
                     f"{median(ours, 'cpu_us_per_op'):.1f} us | {theirs} | {rate} | "
                     f"{ratio_text(said['cpu'], row['cpu'], -1)} | {syscalls_text(found, said)} | "
                     f"{mark} |")
    return "\n".join(lines)


def machine_text(run):
    what = run["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in what["versions"].items() if number)
    busy = max((found.get("busy", 0) for found in run["rows"]), default=0)
    doubt = " **So these figures are not those of an idle machine.**" if busy > 0.2 else ""
    return (f"{what['processors']} processors ({what['model']}), {what['memory_gib']} GiB, Linux "
            f"{what['kernel']}, tmpfs and {what['disk']}; {versions}; {what['date']}. Each figure: "
            f"{what['rounds']} rounds of {what['seconds']} s, {run['seconds'] / 60:.0f} minutes in "
            f"all. Other programs used at most {busy:.0%} of the machine before a row.{doubt}")


def summary_text(run):
    verdicts = [verdict(found)["met"] for found in run["rows"]]
    judged = [met for met in verdicts if met]
    return f"{sum(all(met) for met in judged)} of {len(judged)} rows reach their targets."


def missed_text(run):
    """What misses its target, and by how much."""
    lines = []
    for found in run["rows"]:
        row, said = found["row"], verdict(found)
        parts = []
        if said["rate"] and said["rate"][0] < row["rate"]:
            parts.append(f"rate {said['rate'][0]:.2f} of {said['peer']}, not {row['rate']}")
        if said["host"] and said["host"][0] < row["host_rate"]:
            parts.append(f"rate {said['host'][0]:.2f} of the host's own, not {row['host_rate']}")
        if said["cpu"] and row["cpu"] and said["cpu"][0] > row["cpu"]:
            parts.append(f"processor time {said['cpu'][0]:.2f} of {said['cpu_peer']}, not "
                         f"{row['cpu']}")
        if parts:
            lines.append(f"- {row['group']}: {row['name']}: {'; '.join(parts)}")
    return "\n".join(lines) or "None."


def scale_tables(run):
    texts = []
    for one in run["scale"]["tables"]:
        texts.append(f"{one['title']}\n\n| {' | '.join(one['head'])} |\n"
                     f"| {' | '.join('---' for _ in one['head'])} |")
        texts[-1] += "".join(f"\n| {' | '.join(str(cell) for cell in line)} |"
                             for line in one["lines"])
    head = "| what | measured | target | |\n| --- | --- | --- | --- |"
    texts.append(head + "".join(
        f"\n| {name} | {value} | {target} | {'yes' if is_met else '**no**'} |"
        for name, value, target, is_met in run["scale"]["targets"]))
    return "\n\n".join(texts)


def fill_in(path, parts):
    """Replaces what stands between <!-- NAME --> and <!-- /NAME -->."""
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        text, n = re.subn(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
                          lambda found, part=part: f"{found[1]}{part}\n{found[2]}", text,
                          flags=re.S)
        if n != 1:
            sys.exit(f"{path}: no place for {name}")
    path.write_text(text, encoding="utf-8")


def write_docs(run, tree):
    docs = pathlib.Path(tree) / "docs"
    rows = []
    for found in run["rows"]:
        said = verdict(found)
        if said["rate"] and found["row"]["kind"] != "sandbox":
            rows.append((found["row"], said))
    (docs / "performance.svg").write_text(chart.bars(rows), encoding="utf-8")
    parts = {"bench-machine": machine_text(run), "bench-summary": summary_text(run),
             "bench-table": table(run), "bench-missed": missed_text(run)}
    if run["scale"]:
        (docs / "scale.svg").write_text(chart.plots(run["scale"]["tables"]), encoding="utf-8")
        parts["bench-scale"] = scale_tables(run)
    fill_in(docs / "performance.md", parts)
    fill_in(pathlib.Path(tree) / "README.md",
            {"bench": f"{summary_text(run)} {machine_text(run)}"})
