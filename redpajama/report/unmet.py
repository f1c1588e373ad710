"""What a build asked for and never met: rules that no document failed, lists that have none, models that tell nothing.

A rule that changes nothing may be right, or misspelt, in another unit, or about another language: so it is named.
"""

from collections.abc import Iterator
from typing import Any

from redpajama.engine.gathered import read_stage
from redpajama.engine.store import Store
from redpajama.manifest import Classifier, Manifest, Source
from redpajama.quality import rules
from redpajama.records import Reason

Counts = dict[str, Any]
MIN_AUC = 0.6  # of held-back examples: 0.5 is a coin
MIN_SPREAD = 0.1  # between the 5th and the 95th percentile of their scores


def unmet_lines(store: Store, record: Counts) -> list[str]:
    """One line for each thing, by source; then what each trained classifier is worth."""
    manifest = Manifest(**record["manifest"])
    counts = {
        (stage, name): read_stage(store, entry["record"]).counts
        for stage in ("documents", "quality", "classifiers")
        for name, entry in record["stages"].get(stage, {}).items()
    }
    lines = []
    for source in manifest.source:
        made, judged = (counts.get((stage, source.name), {}) for stage in ("documents", "quality"))
        found = [*_of_cleaning(source, made), *(_of_rules(source, judged) if judged else ())]
        lines += [f"unmet   {source.name}: {line}" for line in found]
    return lines + [line for wish in manifest.classifier for line in _of_training(wish, counts)]


def _of_cleaning(source: Source, made: Counts) -> Iterator[str]:
    clean = source.clean
    if not clean or not made.get("read"):
        return
    if clean.bad_words and not made["dropped"].get(Reason.BAD_WORD):
        compared = made.get("compared", {}).get("bad_words", 0)
        yield f"clean.bad_words met nothing in {compared:,} documents compared with it, of {made['read']:,}"
    of_lines = (Reason.LOREM_IPSUM, Reason.CURLY_BRACKET, Reason.FEW_SENTENCES)
    if clean.c4_lines and not sum(made["removed_lines"].values()) and not any(map(made["dropped"].get, of_lines)):
        yield "clean.c4_lines removed no line and no page"
    if none := [kind for kind in clean.pii_kinds if not made["redacted"].get(kind)]:
        yield f"clean.pii redacted none of: {', '.join(none)}"


def _of_rules(source: Source, judged: Counts) -> Iterator[str]:
    """Rules and lists count what they meet, limits of models what is gone for them first."""
    wanted = sorted(rules.expand(source.quality))
    if none := [key for key in wanted if not judged["met"].get(key)]:
        yield f"no document fails {len(none)} of {len(wanted)} rules: {', '.join(none)}"
    if none := [name for name, documents in judged.get("listed", {}).items() if not documents]:
        yield f"no document is on the blocklist{'s' if len(none) > 1 else ''} {', '.join(none)}"
    language, perplexity, classifier = source.language, source.perplexity, source.classifier
    limits = {
        Reason.LOW_LANGUAGE_SCORE: language and f"language.min_score = {language.min_score:g}",
        Reason.LANGUAGE_NOT_KEPT: language and language.keep and f"language.keep = {language.keep}",
        Reason.PERPLEXITY_BUCKET: perplexity and f"perplexity.keep = {perplexity.keep}",
        Reason.BELOW_CLASSIFIER_THRESHOLD: classifier and f"classifier.keep = {classifier.keep}",
    }
    for reason, limit in limits.items():
        if limit and not judged["dropped"].get(reason):
            yield f"{limit} removed nothing"


def _of_training(wish: Classifier, counts: dict[tuple[str, str], Counts]) -> Iterator[str]:
    trained = counts.get(("classifiers", wish.name))
    if not trained:
        return
    name, held_back = f"model   {wish.name}:", f"{trained.get('held_back', 0):,} held-back examples"
    if "auc" not in trained:
        yield f"{name} {held_back} are too few to say whether it tells its sides apart"
        return
    low, high = trained["score_p05"], trained["score_p95"]
    yield f"{name} AUC {trained['auc']:g} on {held_back}, nine tenths of their scores are from {low:g} to {high:g}"
    if trained["auc"] < MIN_AUC or high - low < MIN_SPREAD:
        yield f"{name} warning: it scores its sides nearly alike, so a bound keeps all or nothing; train on more pages"
