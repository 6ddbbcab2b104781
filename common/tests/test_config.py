import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from vidseg_common.config import (
    ArgumentParser,
    apply_overrides,
    dump_yaml,
    from_dict,
    keys_of,
    load_yaml,
    to_dict,
)
from vidseg_common.errors import ConfigError


class Kind(enum.Enum):
    STATIC = "static"
    VIDEO = "video"


@dataclass(frozen=True)
class Source:
    root: Path
    repeat: int = 1


@dataclass(frozen=True)
class Train:
    lr: float = 1e-5
    steps: tuple[int, ...] = (150_000,)
    size: tuple[int, int] | None = None
    amp: bool = True
    stage: Literal[0, 1, "two"] = 0
    sources: tuple[Source, ...] = ()

    def __post_init__(self):
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class Config:
    train: Train = field(default_factory=Train)
    finetune: Train | None = None
    kind: Kind = Kind.STATIC
    output: Path | None = None
    name: str = "NULL"
    weights: dict[str, float] = field(default_factory=dict)
    extra: Any = None
    limit: int | float | str = 0


def test_defaults_from_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_yaml(Config, tmp_path / "empty.yaml") == Config() == from_dict(Config, {})


def test_all_kinds_of_value(tmp_path):
    text = """
    train:
      lr: 1e-4          # YAML reads this as text
      steps: [1, 2]
      size: [480, 854]
      amp: no
      stage: two
      sources: [{root: ../DAVIS, repeat: 5}, {root: ../YouTube}]
    kind: video
    output: runs/a
    weights: {a: 1, b: 0.5}
    limit: x
    """
    (tmp_path / "c.yaml").write_text(text)
    cfg = load_yaml(Config, tmp_path / "c.yaml")
    assert cfg.train == Train(
        lr=1e-4,
        steps=(1, 2),
        size=(480, 854),
        amp=False,
        stage="two",
        sources=(Source(Path("../DAVIS"), 5), Source(Path("../YouTube"))),
    )
    assert cfg.kind is Kind.VIDEO
    assert cfg.output == Path("runs/a")
    assert cfg.weights == {"a": 1.0, "b": 0.5}
    assert cfg.limit == "x"
    dump_yaml(cfg, tmp_path / "again.yaml")
    assert load_yaml(Config, tmp_path / "again.yaml") == cfg
    assert from_dict(Config, to_dict(cfg)) == cfg


def test_overrides():
    words = ["train.lr", "0.1", "train.steps=3,4", "train.size", "(5, 6)", "train.amp=off"]
    words += ["train.stage=1", "kind=VIDEO", "output=none", "name=a=b", "limit=3", "extra=[1, x]"]
    words += ["weights={a: 2}", "finetune.lr=1e-3"]
    cfg = apply_overrides(Config(output=Path("x")), words)
    assert cfg == Config(
        train=Train(lr=0.1, steps=(3, 4), size=(5, 6), amp=False, stage=1),
        finetune=Train(lr=1e-3),
        kind=Kind.VIDEO,
        name="a=b",
        limit=3,
        extra=[1, "x"],
        weights={"a": 2.0},
    )
    assert apply_overrides(cfg, []) == cfg
    assert apply_overrides(cfg, ["train.lr", 2, "train.size", None]).train.size is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train.lrr", "1"], "unknown key 'train.lrr'; did you mean train.lr?"),
        (["lr=1"], "unknown key 'lr'; did you mean train.lr?"),
        (["Train.Amp=true"], "did you mean train.amp?"),
        (["train.lr", "fast"], "field 'train.lr' expects a number, got 'fast'"),
        (["train.lr"], "key 'train.lr' has no value"),
        (["train.lr.x=1"], "'lr' is a value"),
        (["train=1"], "field 'train' expects a section"),
        (["train.amp=1"], "field 'train.amp' expects true or false, got '1'"),
        (["train.steps=1,b"], "expects a list, each item an integer"),
        (["train.steps=1.5"], "expects a list, each item an integer"),
        (["train.size=1,2,3"], "expects a list of 2 values"),
        (["train.stage=3"], "expects one of 0, 1, two"),
        (["kind=photo"], "field 'kind' expects one of STATIC, VIDEO"),
        (["train.lr=-1"], "section 'train': lr must be positive"),
    ],
)
def test_bad_override(words, expected):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Config(), words)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("command line: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trian: {lr: 1}", "unknown key 'trian'; did you mean train?"),
        ("train: {step: [1]}", "unknown key 'train.step'; did you mean train.steps?"),
        ("train: {zzz: 1}", "unknown key 'train.zzz'; known here: train.lr, train.steps"),
        ("train: {amp: 'true'}", "field 'train.amp' expects true or false, got 'true'"),
        ("train: {amp: 1}", "field 'train.amp' expects true or false, got 1"),
        ("train: {lr: true}", "field 'train.lr' expects a number, got True"),
        ("train: {size: 5}", "field 'train.size' expects a list of 2 values"),
        ("train: {steps: '12'}", "field 'train.steps' expects a list"),
        ("train: {sources: [{repeat: 2}]}", "required key 'train.sources[0].root' is missing"),
        ("train: {sources: [{root: a, r: 2}]}", "unknown key 'train.sources[0].r'"),
        ("train: 5", "field 'train' expects a section with keys, got 5"),
        ("name: 5", "field 'name' expects text, got 5 (put quotes around it"),
        ("- 1", "the file expects keys with values"),
        ("train: [", "not valid YAML"),
        ("name: a\nname: b", "'name' stands twice, again in line 2"),
        ("output: !!python/object/apply:os.system [x]", "not valid YAML"),
    ],
)
def test_bad_file(tmp_path, text, expected):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(Config, path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: a\ntrain:\n  lr: 1\n  stps: [1]", 4),
        ("# as before\n\ntrain:\n  amp: 1", 4),
        ("train:\n  sources:\n  - root: a\n  - root: b\n    r: 2", 5),
        ("name: a\ntrain: 5", 2),
    ],
)
def test_lines_are_named(tmp_path, text, line):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(Config, path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(Config, tmp_path / "none.yaml")


def test_keys_and_plain_values(tmp_path):
    assert keys_of(Config)[:2] == ["train.lr", "train.steps"]
    dump_yaml(Config(), tmp_path / "c.yaml")
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["train"]["lr"] == 1e-5


def parser():
    made = ArgumentParser(prog="eval")
    made.add_argument("--mem_every", type=int, default=5, help="frames between memory frames")
    made.add_argument("--output", required=True, help="results folder")
    made.add_argument("--amp", action="store_true", help="mixed precision")
    made.add_argument("video", nargs="?", default="clip.mp4", help="input")
    return made


def error_of(made, words, capsys):
    with pytest.raises(SystemExit) as caught:
        made.parse_args(words)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output", "o", "--mem_evry", "3"], "unknown flag --mem_evry; did you mean --mem_every"),
        (["--output", "o", "--mem-every=3"], "unknown flag --mem-every; did you mean --mem_every?"),
        (["--outptu", "o"], "unknown flag --outptu; did you mean --output?"),
        (["--output", "o", "--mem", "3"], "unknown flag --mem"),
        (["--output", "o", "--zzz"], "unknown flag --zzz ("),
        (["--output", "o", "a", "b"], "unexpected argument 'b'"),
        (["a"], "required: --output"),
        (["--output", "o", "--mem_every", "x"], "invalid int value: 'x'"),
    ],
)
def test_flag_errors(words, expected, capsys):
    message = error_of(parser(), words, capsys)
    assert message.startswith("eval: error: ")
    assert expected in message


def test_flags_of_sub_commands(capsys):
    made = ArgumentParser(prog="stcn")
    made.add_argument("--device")
    commands = made.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict")
    predict.add_argument("video")
    predict.add_argument("--mask", required=True)
    commands.add_parser("train").add_argument("--masks")
    message = error_of(made, ["predict", "v.mp4", "--mask", "m", "--msk", "x"], capsys)
    assert message.startswith("stcn predict: error: unknown flag --msk; did you mean --mask?")
    message = error_of(made, ["predict", "v.mp4", "--msk", "x"], capsys)
    assert message.startswith("stcn predict: error: unknown flag --msk; did you mean --mask?")
    assert "invalid choice" in error_of(made, ["predikt"], capsys)
    assert made.parse_args(["predict", "v.mp4", "--mask", "m"]).mask == "m"


def test_negative_numbers_and_remainder_pairs():
    made = parser()
    values, rest = made.parse_known_args(["--output", "o", "v", "train.lr", "-1"])
    assert values.video == "v"
    assert "train.lr" in rest


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "frames between memory frames (default: 5)" in text
    assert "input (default: clip.mp4)" in text
    assert "mixed precision (" not in text
    assert "results folder (" not in text


def test_help_shows_defaults_that_are_zero(capsys):
    made = ArgumentParser("zero")
    made.add_argument("--seed", type=int, default=0, help="of everything")
    made.add_argument("--least", type=float, default=0.0, help="smallest score")
    made.add_argument("--flag", action="store_true", help="switch")
    with pytest.raises(SystemExit):
        made.parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "of everything (default: 0)" in text
    assert "smallest score (default: 0.0)" in text
    assert "switch (" not in text
