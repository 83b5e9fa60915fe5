"""Study files made at random, whole or broken, and what becomes of each before any work starts."""

from __future__ import annotations

import math
import random
import signal
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML

from cli.commands.run import with_absolute_paths
from study.config.hyperparameters import Hyperparameters
from study.config.search_config import DesignKind
from study.config.study_config import StudySpec
from study.config_file import load_spec
from study.config_file.messages import SECTIONS, alternatives, listed_values, schema_at
from study.designs import design_notes, design_overview, planned_trials, trials_in_words
from study.designs.changes import changes
from study.engine.preparation import prior_trials_of
from study.engine.weights.initial_weights import locate_weights, required_weights
from study.errors import StudyError
from study.metric_catalog import METRICS
from study.paths import StudyLayout
from study.planning.workload import study_workload
from study.utils.text import printable

LONGEST_MESSAGE = 2000
LONGEST_S = 2.0
_HANGS_S = 30
_MOST_LISTED = 2000
SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").rglob("*.yaml"))

ODD = (
    "null", "~", "''", "true", "no", "0", "-0", "1", "-1", "2", "18", "18.0", "0.5", "1e-3", "1e5", "1_2", "0x1F",
    "0o17", "1e30", "1e308", "1e999", "-1e400", ".nan", ".inf", "-.inf", "5e-324", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "1" * 400, "9" * 5000, "0b" + "1" * 20000, "0x" + "f" * 5000,
    "1." + "3" * 5000, "2024-01-01", "2024-01-01T10:00:00Z", "12:30:45", "!!binary aGVsbG8=", "!!binary '***'",
    "!!int x", "!!int ''", "!!float ''", "!!bool maybe", "!!null x", "!!timestamp x", "!!set {a, b}", "!!omap [a: 1]",
    "!!python/object/apply:os.system [ls]", "!fast 1", "!!str 1", "!!float 1", '"\\ud800"', '"\\ud83d\\ude42"',
    '"\\0"', '"\\x1b[31mred\\x1b[0m"', '"a\\nb"', '"a\\tb"', '"\\u202egpj.exe"', '"\\u200b"', '"\\ufeff"',
    '"\\x9b2J"', '"\\U000e0001"', "e\u0301", "實驗", "🙂", "\u3000", "'" + "x" * 300 + "'", "'" + "d/" * 3000 + "'",
    "'" + "ä" * 140 + "'", "..", "/", "~", "~nobody/x", "a/b", "con", "-x", "[]", "{}", "[[]]", "[{}]", "{a: b}",
    "[1, 2, 3]", "[null]", "[" * 30 + "]" * 30, "[" * 800 + "]" * 800, "{a: " * 40 + "}" * 40, "&a [*a]",
    "&b {<<: *b}", "*nothing", "<<", "[1, 2", "{a: 1", "'open", '"open', "|", ">-", "? x", "- x", "%x", "@x", "`x`",
    "[2, 1e30]", "[1, 9223372036854775807]", "[0, 1]", "[1, 0]", "[1, 1]", "[1e-320, 1e300]", "[.nan, 1]",
    "[-.inf, .inf]", "[18, 18.0]", "[true, 1]", "[10, 18, 34]", "10 min", "0 s", "1e9 h", "9" * 400 + " h", "-5 s",
    "90", "1 h 30 min",
)  # fmt: skip
BYTES = (
    b"\x00", b"\x01", b"\x1b[2J", b"\x7f", b"\x85", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80",
    b"\t", b"\r", b"\r\n", b"\n", b" ", b"  ", b":", b": ", b"-", b"- ", b"? ", b"#", b" #", b"'", b'"', b"[", b"]",
    b"{", b"}", b",", b"&a ", b"*a", b"<<: *a", b"!", b"!!", b"!!int ", b"|", b">", b"%YAML 1.1\n---\n", b"---\n",
    b"...\n", b"@", b"`", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xe2\x80\x8b", b"0", b"9" * 50, b".", b"e", b"E99",
    b"-", b"_", b"\\", b"\\u0000",
)  # fmt: skip
_KEYS = (
    "lr", "epochs", "max_epohcs", "__proto__", "", "null", "1", "true", "when", "step", "kind", "x" * 300,
    "\u202ekey", "a b",
)  # fmt: skip


class Raw(str):
    """YAML as it is to be written."""


def file_bytes(rng: random.Random) -> bytes:
    """Return a study file: a shipped one or one of the grammar, most of them broken."""
    text = rng.choice(SHIPPED).read_text() if rng.random() < 0.4 else emit(generate(rng), rng)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        text = _mutated_tree(rng, text)
    content = text.encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2, 5))):
        content = _mutated_bytes(rng, content)
    return content


def overrides(rng: random.Random) -> list[str]:
    """Return the values of a few ``--set`` options, none for most files."""
    if rng.random() < 0.85:
        return []
    known = [(name, field) for name, section in SECTIONS.items() for field in section.model_fields]
    keys = (*known, *(("space", name) for name in Hyperparameters.model_fields), ("name",), ("x", ""), ("design",))
    return [f"{'.'.join(rng.choice(keys))}={rng.choice(ODD)}" for _ in range(rng.randint(1, 2))]


def _mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    end = min(len(content), at + rng.choice((1, 1, 2, 5, 20, 80)))
    way = rng.randrange(6)
    if way == 0:
        return content[:at] + rng.choice(BYTES) + content[at:]
    if way == 1:
        return content[:at] + content[end:]
    if way == 2:
        return content[:at] + content[at:end] * rng.choice((2, 3, 50)) + content[end:]
    if way == 3:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if way == 4:
        return content[: rng.randrange(len(content) + 1)] + content[at:]
    return content[:at] + rng.choice(ODD).encode() + content[end:]


def _mutated_tree(rng: random.Random, text: str) -> str:
    """Return a document with one value or key changed, or the text itself where it is none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = YAML(typ="safe", pure=True).load(text)
        places = list(_places(tree))
    except Exception:  # what an earlier mutation broke
        return text
    if not places:
        return text
    (holder, key), way = rng.choice(places), rng.randrange(7)
    if way <= 2:
        holder[key] = Raw(rng.choice(ODD))
    elif way == 3:
        del holder[key]
    elif way == 4:
        other, other_key = rng.choice(places)
        holder[key] = other[other_key] if other_key in (other if isinstance(other, dict) else range(len(other))) else 0
    elif isinstance(holder, dict):
        name = _other_key(rng, key)
        holder[name] = holder[key]
        if way == 5:
            del holder[key]
    else:
        holder.extend(holder[:] * rng.choice((1, 40)))
    try:
        return emit(tree, rng)
    except RecursionError:
        return text


def _other_key(rng: random.Random, key: object) -> str:
    name = str(key)
    if rng.random() < 0.4 or not name:
        return rng.choice((*_KEYS, *StudySpec.model_fields, *Hyperparameters.model_fields))
    at = rng.randrange(len(name))
    return name[:at] + rng.choice(("", "x", "_", name[at] * 2)) + name[at + 1 :]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def emit(value: Any, rng: random.Random, depth: int = 0) -> str:
    """Write a tree as YAML, the outer levels in blocks, the inner ones mostly in flow style."""
    if isinstance(value, dict) and value and depth < rng.choice((1, 2, 2, 3)):
        lines = []
        for key, item in value.items():
            block = isinstance(item, dict) and item and depth < 2
            text = emit(item, rng, depth + 1)
            nested = block and "\n" in text
            indented = "\n" + "\n".join(f"  {line}" for line in text.rstrip("\n").split("\n")) if nested else f" {text}"
            lines.append(f"{_scalar(key)}:{indented}")
        return "\n".join(lines) + "\n"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {emit(item, rng, 9)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(emit(item, rng, 9) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return (
            repr(value) if math.isfinite(value) else ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        )
    if isinstance(value, int):
        return f"{value:#x}" if abs(value) > 2**70 else str(value)
    text = str(value)
    plain = text.replace("_", "").replace("/", "").replace("+", "").isalnum() and not text[0].isdigit()
    return text if plain else "'" + text.replace("'", "''") + "'"


_TAME = (
    "depth", "head_dropout", "augmentation", "optimizer", "learning_rate", "weight_decay", "schedule", "normalization",
    "label_smoothing", "class_weights", "sampling", "batch_size", "max_epochs", "channels_last", "precision", "freeze",
    "init", "clip_grad_norm", "ema_decay", "warmup_epochs", "decay_norms_and_biases",
)  # fmt: skip
"""Hyperparameters that mean something beside the defaults of all others."""


def generate(rng: random.Random) -> dict[str, Any]:
    """Return a document of the grammar: a tame one, mostly valid, or a wild one of any fields."""
    return _wild(rng) if rng.random() < 0.3 else _tame(rng)


def _tame(rng: random.Random) -> dict[str, Any]:
    names = rng.sample(_TAME, rng.randint(1, rng.choice((2, 4, 8))))
    kind = rng.choice(get_args(DesignKind))
    tree: dict[str, Any] = {"name": rng.choice(("x", "ablation", "my study", "a/b", "Prüfung 3", "實驗"))}
    fixed = {name: _sound(rng, name) for name in _TAME if name not in names and rng.random() < 0.1}
    fixed.pop("warmup_epochs", None)
    if fixed.get("schedule") == "multistep":
        fixed["milestones"] = [2, 5]
    tree |= {"trial": fixed, "space": {name: _sound_domain(rng, name, kind) for name in names}}
    _set_condition(rng, tree["space"])
    if kind != "search":
        tree["design"] = {"kind": kind}
    elif rng.random() < 0.8:
        tree["search"] = {"trials": rng.randint(2, 40), "sampler": rng.choice(("tpe", "random", "gp", "qmc", "nsga2"))}
    if kind == "one_factor":
        tree["design"]["baseline"] = {name: _first(domain) for name, domain in tree["space"].items()}
    elif kind == "points":
        tree["design"]["points"] = [{name: _first(domain) for name, domain in tree["space"].items()}]
    if rng.random() < 0.3:
        tree["replicates"] = {"count": rng.randint(1, 5)}
    if rng.random() < 0.3:
        tree["budget"] = {"wall_clock": rng.choice(("10 min", "1 h 30 min", "2 d")), "failures": rng.randint(1, 9)}
    return tree


def _sound(rng: random.Random, name: str) -> Any:
    if name == "augmentation":
        return rng.choice(("none", "flip", "flip+rotate(15)", "mixup", "strong", "flip(0.2)+erase", "crop(0.5)"))
    schema = schema_at(("trial", name)) or {}
    if listed := listed_values(schema):
        return rng.choice([value for value in listed if value not in ("rotation", "multistep")])
    if schema.get("type") == "integer":
        return rng.choice((8, 16, 32, 64))
    return rng.random() < 0.5 if schema.get("type") == "boolean" else rng.choice((0.1, 0.2, 0.25, 0.5))


def _sound_domain(rng: random.Random, name: str, design: str) -> Any:
    kind = (schema_at(("trial", name)) or {}).get("type")
    if kind == "integer" and name != "depth" and rng.random() < 0.5:
        return {rng.choice(("int", "logint")): [rng.randint(2, 4), rng.choice((5, 6, 40, 4000))]}
    if kind == "number" and design == "search" and rng.random() < 0.6:
        return {rng.choice(("uniform", "loguniform")): [rng.choice((0.001, 0.01)), rng.choice((0.1, 0.5))]}
    if kind == "number" and rng.random() < 0.3:
        return {"uniform": [0.1, 0.5], "step": rng.choice((0.1, 0.05, 0.003, 1e-6))}
    return {"choice": list({repr(value): value for value in (_sound(rng, name) for _ in range(4))}.values())}


def _set_condition(rng: random.Random, space: dict[str, Any]) -> None:
    """Let the last parameter depend on the first, where that one has a list."""
    names = list(space)
    if len(names) > 1 and "choice" in space[names[0]] and rng.random() < 0.3:
        space[names[-1]]["when"] = {names[0]: _first(space[names[0]])}


def _first(domain: dict[str, Any]) -> Any:
    kind = next(iter(domain))
    return domain[kind][0]


def _wild(rng: random.Random) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": rng.choice(("x", "ablation", "my study", "a/b", "Prüfung 3"))}
    for name, section in SECTIONS.items():
        if rng.random() < (0.15 if name not in ("trial", "search") else 0.5):
            fields = rng.sample(list(section.model_fields), rng.randint(0, min(4, len(section.model_fields))))
            tree[name] = {field: _value(rng, (name, field)) for field in fields}
    names = rng.sample(list(Hyperparameters.model_fields), rng.randint(0, rng.choice((1, 3, 6, 12))))
    tree["space"] = {name: _domain(rng, name, names) for name in names}
    if rng.random() < 0.5:
        kind = rng.choice(get_args(DesignKind))
        tree["design"] = {"kind": kind, "resolution": rng.randint(2, 11)}
        if kind == "one_factor":
            tree["design"]["baseline"] = {name: _value(rng, ("trial", name)) for name in tree.get("space", {})}
    if rng.random() < 0.2:
        several = rng.sample(list(METRICS), rng.randint(1, 3))
        tree["objectives"] = [{"metric": name, "mode": METRICS[name].mode or "max"} for name in several]
    if rng.random() < 0.1:
        tree["warm_start"] = [rng.choice(("other", "x", "", "\u202e"))]
    return tree


def _value(rng: random.Random, loc: tuple[str, ...]) -> Any:
    """Return a value that a key may admit."""
    if rng.random() < 0.06:
        return Raw(rng.choice(ODD))
    schema = schema_at(loc) or {}
    member = rng.choice(alternatives(schema))
    if listed := listed_values(member):
        return rng.choice(listed)
    if loc[-1] in ("metric", "early_stopping_metric"):
        return rng.choice((*METRICS, "shifted.dark.auc", "val_acc"))
    kind = member.get("type")
    low = member.get("minimum", member.get("exclusiveMinimum", 0))
    high = min(member.get("maximum", member.get("exclusiveMaximum", low + 20)), low + 20)
    if kind == "integer":
        return rng.randint(int(low), int(high))
    if kind == "number":
        return rng.choice((low, (low + high) / 2, round(low + (high - low) * rng.random(), 4)))
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "array":
        return rng.choice(([], [0], [1, 3], [0.6, 0.2, 0.2], [0, 1, 2, 3, 4]))
    if kind == "object":
        return rng.choice(({}, {"val_auc": 0.9}, {"masked": "yes"}, {"dark": "."}, {"depth": 18}))
    return rng.choice(("x", ".", "10 min", "flip+rotate(15)", "rotate(200)", r"^(\d+)_", "(", "val_auc", "faces"))


def _domain(rng: random.Random, name: str, names: Sequence[str]) -> Any:
    """Return a domain of any kind, or a constant."""
    drawn = [_value(rng, ("trial", name)) for _ in range(rng.randint(1, 4))]
    kind = rng.choice(("constant", "choice", "choice", "uniform", "loguniform", "int", "logint"))
    if kind == "constant":
        return drawn[0]
    if kind == "choice":
        domain: dict[str, Any] = {"choice": drawn}
    else:
        numbers = [value for value in drawn if type(value) in (int, float)] or [1, 4]
        low, high = min(numbers), max(numbers) + rng.choice((0, 1, 3, 0.5, 10**6, 10**12))
        domain = {kind: [int(low), int(high)] if "int" in kind else [float(low), float(high)]}
        if rng.random() < 0.3:
            domain["step"] = rng.choice((1, 2, 0.1, 1e-9, 1e-300, 0, -1, Raw(".nan"), 10**9))
    if rng.random() < 0.2:
        parent = rng.choice((*names, *Hyperparameters.model_fields))
        domain["when"] = {parent: _value(rng, ("trial", parent))}
    return domain


class _HangError(BaseException):
    """One file takes too long; no `except Exception` may swallow it."""


@contextmanager
def _alarm(after_s: int) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise _HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(after_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Outcome:
    """What became of one file; ``faults`` are against what a study file may do."""

    accepted: bool = False
    faults: list[str] = field(default_factory=list)
    spent_s: float = 0.0
    messages: tuple[str, ...] = ()


def attempt(path: Path, overrides: Sequence[str] = ()) -> Outcome:
    """Load a file as `run` and `plan` do, up to where work would start."""
    outcome, begun_s = Outcome(), time.process_time()
    try:
        with _alarm(_HANGS_S):
            outcome.messages = tuple(_before_work(path, overrides))
        outcome.accepted = True
    except StudyError as error:
        outcome.messages = tuple(str(error).split("\n"))
    except _HangError:
        outcome.faults.append("hang")
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        outcome.faults.append(f"traceback: {type(error).__name__} at {place}: {str(error)[:200]!r}")
    outcome.spent_s = time.process_time() - begun_s
    if outcome.spent_s > LONGEST_S:
        outcome.faults.append(f"slow: {outcome.spent_s:.1f} s")
    for message in outcome.messages:
        if printable(message) != message:
            outcome.faults.append(f"control character: {message[:200]!r}")
        if len(message) > LONGEST_MESSAGE and not outcome.accepted:
            outcome.faults.append(f"long message: {message[:200]!r}")
    if not outcome.accepted and not all(message.strip() for message in outcome.messages):
        outcome.faults.append("empty message")
    return outcome


def _before_work(path: Path, overrides: Sequence[str]) -> Iterator[str]:
    spec = with_absolute_paths(load_spec(path, overrides).spec)
    locate_weights(required_weights(spec), {})
    prior_trials_of(spec, StudyLayout(path.parent / "studies" / "this"))
    yield f"{spec.name}: {planned_trials(spec)} trials"
    yield trials_in_words(spec)
    yield from design_notes(spec)
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    assert changes(spec, spec) == ()
    if planned_trials(spec) <= _MOST_LISTED:
        yield from design_overview(spec).split("\n")
        assert study_workload(spec).trials <= planned_trials(spec)
