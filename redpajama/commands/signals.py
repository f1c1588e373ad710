"""`redpajama signals`: what rules can be about."""

from redpajama.commands import screen
from redpajama.commands.arguments import JsonOption


def command(as_json: JsonOption = False) -> int:
    """Every signal that a rule can be about, its presets, and how these differ from their makers' code."""
    from redpajama.quality.measures.catalogue import SIGNALS
    from redpajama.quality.presets import DIFFERENCES, PRESETS, presets_of

    rows = [{**signal._asdict(), "presets": presets_of(signal.name)} for signal in SIGNALS.values()]
    if as_json:
        presets = {name: {key: bound._asdict() for key, bound in rules.items()} for name, rules in PRESETS.items()}
        screen.show_json({"signals": rows, "presets": presets, "differences": DIFFERENCES})
        return 0
    out = screen.console()
    for row in rows:
        bounds = "; ".join(f"{name} {bound}" for name, bound in row["presets"].items())
        out.print(f"{row['name']}  ({row['set']}, {row['unit']})", style="bold", soft_wrap=True)
        screen.prose(out, f"  {row['definition']} [{row['source']}]")
        if bounds:
            screen.prose(out, f"  rules: {bounds}")
    out.print()
    differences = screen.table("preset", "rules", "how it differs from its makers' code", left=(0, 2))
    for name, preset in PRESETS.items():
        differences.add_row(name, str(len(preset)), "; ".join(DIFFERENCES[name]))
    out.print(differences)
    out.print(f"{len(rows)} signals; --json adds where each threshold is from.")
    return 0
