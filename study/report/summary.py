"""The first screen of a report: the answer, the value to expect, what blurs it, and what it takes to know more."""

from __future__ import annotations

import math

from study.analysis.power import cheapest, components_of
from study.report.content import StudyContent, Verdict
from study.report.elements import Fact, Figure, Section, Table, between, listed, number, setting
from study.report.interval_plots import margin_words, noise_plot

_Z = 1.96
_DIFFERENCES = (0.005, 0.01, 0.02)


def headline(content: StudyContent) -> str:
    """Return the answer in one sentence."""
    soon = "" if content.is_over else "So far: "
    sentence = _headline(content)
    return soon + (sentence[0].lower() + sentence[1:] if soon and not sentence.startswith("`") else sentence)


def _headline(content: StudyContent) -> str:
    if len(content.objectives) > 1:
        return _front_headline(content)
    if not any(entry.rank for entry in content.entries):
        return "Nothing has ended with a checkpoint yet."
    verdict = content.verdict
    if verdict is None:
        return f"{content.entries[0].name} is first by {content.objective.metric}; {content.answer}."
    return verdict_headline(content, verdict)


def _front_headline(content: StudyContent) -> str:
    front = [entry.name for entry in content.entries if entry.rank == 1]
    more = [entry.name for entry in content.entries if entry.rank != 1 and entry.key in content.may_be_on_front]
    by = " and ".join(objective.metric for objective in content.objectives)
    are = "is" if len(front) == 1 else "are"
    text = f"{len(front)} of {len(content.entries)} {are} on the front by {by}: {listed(front)}"
    if content.answer.startswith("not known"):
        return f"Not known: as measured, {text}; {content.answer.partition('; ')[2]}."
    return f"Undecided: as measured, {text}; {listed(more)} may be on it too." if more else f"{text}."


def verdict_headline(content: StudyContent, verdict: Verdict) -> str:
    """Return the verdict as a sentence that stands alone."""
    judgement, size = verdict.judgement, len(verdict.keys)
    leader = content.entry(verdict.leader).name
    if size == 1:
        return f"{leader} is the only one that can be judged."
    of_checkpoints = judgement.about == "checkpoints"
    unknown = "; which configuration is the best is unknown, as each ran once" if of_checkpoints else ""
    if judgement.verdict == "yes":
        if of_checkpoints:
            return f"The checkpoint of {leader} is the best of {size} on images like these{unknown}."
        return f"Yes: {leader} is the best of {size}."
    what = "checkpoints" if of_checkpoints else "configurations"
    which = listed([str(key) for key in verdict.may_be_best])
    return f"Undecided: {len(judgement.may_be_best)} of {size} {what} may be the best: {which}{unknown}."


def summary_section(content: StudyContent) -> Section:
    """Return the first screen."""
    facts = []
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    paragraphs = [f"In full: {content.answer}."] if len(content.objectives) == 1 and content.verdict else []
    if content.verdict is not None:
        facts += _facts(content, content.verdict)
        figures, tables = noise_figures(content.verdict), _needed(content.verdict)
    elif content.no_verdict:
        paragraphs.append(f"No interval can be given: {content.no_verdict}.")
    if any(entry.rank for entry in content.entries):
        facts.append(_leader(content))
    facts.append(_progress(content))
    return Section("answer", "Answer", (*paragraphs, *content.notes), tuple(facts), figures, tables)


def _leader(content: StudyContent) -> Fact:
    first = content.entries[0] if content.verdict is None else content.entry(content.verdict.leader)
    heading = "On the front" if len(content.objectives) > 1 else "Leader"
    params = ", ".join(f"{name} {setting(value)}" for name, value in first.params.items())
    measured = f"{content.objective.metric} {number(first.value)}"
    return Fact(heading, first.name, f"{measured}; {params or 'nothing was searched'}")


def _facts(content: StudyContent, verdict: Verdict) -> list[Fact]:
    judgement, winner = verdict.judgement, verdict.judgement.winner
    seeds = f", mean of {verdict.seeds} seeds" if verdict.seeds > 1 else ""
    why = "" if len(verdict.keys) == 1 else f"; corrected, as it was picked as the best of {len(verdict.keys)}"
    expected = Fact(
        "To expect on images like these", number(winner.corrected),
        f"95 % interval {between(winner.low, winner.high)}; measured {number(winner.raw)}{seeds}{why}. "
        "Epochs were chosen on these images too: only the test images are untouched.",
    )  # fmt: skip
    if not judgement.differences:
        return [expected]
    lead = judgement.differences[0]
    next_ = content.entry(verdict.keys[judgement.others[0]]).name
    interval = "" if math.isinf(lead.low) else f"95 % interval {between(lead.low, lead.high)}, "
    return [expected, Fact("Lead over the next", f"{lead.value:.2g}",
                           f"{interval}p {lead.p:.2g}, over {next_} on {verdict.images:,} images")]  # fmt: skip


def _progress(content: StudyContent) -> Fact:
    counts = {state: sum(trial.state.value == state for trial in content.trials)
              for state in ("COMPLETE", "PRUNED", "FAILED", "RUNNING")}  # fmt: skip
    words = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAILED": "failed", "RUNNING": "not ended"}
    told = ", ".join(f"{count} {words[state]}" for state, count in counts.items() if count)
    return Fact("Trials", f"{len(content.trials)} of {content.planned}", told or "none yet")


def noise_figures(verdict: Verdict) -> tuple[Figure, ...]:
    """Return the plot of the lead and of what blurs it."""
    judgement = verdict.judgement
    if not judgement.differences or not judgement.known:
        return ()
    lead = judgement.differences[0]
    several = judgement.about == "configurations"
    by_seeds = _Z * lead.se_seed if several else None
    both = (lead.high - lead.low) / 2 if several else None
    margins = [("seeds", by_seeds), ("images", _Z * lead.se_image), ("both together", both)]
    canvas = noise_plot(abs(lead.value), margins, "difference, and 95 % margins")
    told = ", ".join(f"{name} {margin_words(margin)}" for name, margin in margins)
    note = "Another seed, or other images of the same kind, would move the lead by about this much."
    if not several:
        note += " These are single runs, so what another seed would do is not known."
    rows = (("lead", f"{lead.value:.2g}"), *((name, margin_words(margin)) for name, margin in margins))
    table = Table(("what", "size"), rows, frozenset({1}))
    return (Figure("noise", "Two sources of noise", f"The lead is {lead.value:.2g}; what blurs it: {told}.", canvas.svg,
                   canvas.width, canvas.height, table, note),)  # fmt: skip


def _needed(verdict: Verdict) -> tuple[Table, ...]:
    """Return what it takes to see differences, the lead first."""
    judgement = verdict.judgement
    if not judgement.differences or not judgement.known or judgement.differences[0].se_image == 0:
        return ()
    components = components_of(verdict.comparison, judgement.leader, judgement.others[0])
    lead = abs(judgement.differences[0].value)
    rows = []
    for difference in dict.fromkeys([*([lead] if lead > 1e-4 else []), *_DIFFERENCES]):
        what = f"{difference:.2g}" + (" (the lead)" if difference == lead else "")
        needed = cheapest(components, difference, verdict.seeds, verdict.images)
        if needed is None:
            rows.append((what, "-", "no number suffices with up to 100 seeds"))
        else:
            rows.append((what, str(needed[0]), f"{float(f'{needed[1]:.3g}'):,.0f}"))
    now = ("at hand", str(verdict.seeds), f"{verdict.images:,}")
    return (Table(("to see a difference of", "seeds", "images"), (*rows, now), frozenset({1, 2}),
                  frozenset({len(rows)}), title="What it takes to know more"),)  # fmt: skip
