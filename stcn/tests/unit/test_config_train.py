import pytest

from stcn.commands.train import _parser, build_config
from stcn.config import CONFIGS, TrainConfig
from stcn.feed import build_loader
from vidseg_common.config import load_yaml
from vidseg_common.errors import ConfigError, DatasetError

#: Stage: objects, batch per process, iterations, milestone, data (spec section 6.1).
PUBLISHED = {
    0: (1, 8, 300_000, 150_000, "static"),
    1: (2, 4, 500_000, 400_000, "bl30k"),
    2: (2, 4, 300_000, 250_000, "main"),
    3: (2, 4, 150_000, 125_000, "main"),
}


def config_of(*words):
    return build_config(_parser().parse_args([str(word) for word in words]))


@pytest.mark.parametrize("stage", PUBLISHED)
def test_published_stages(stage):
    config = config_of("--stage", stage)
    objects, batch, iterations, milestone, source = PUBLISHED[stage]
    assert (config.stage, config.data.source, config.batch_size) == (stage, source, batch)
    assert (config.iterations, config.steps) == (iterations, (milestone,))
    assert config.network.others_channel == (objects == 2)
    assert (config.lr, config.gamma, config.weight_decay) == (1e-5, 0.1, 1e-7)
    assert (config.bootstrap_start, config.bootstrap_end) == (20_000, 70_000)
    assert (config.report_every, config.image_every, config.save_every) == (100, 800, 50_000)
    assert (config.min_final_iterations, config.seed) == (5_000, 14_159_265)
    assert (config.data.crop, config.data.num_workers, config.amp) == (384, 8, "auto")
    assert config.pretrained and not config.train_batch_norm


def test_every_configuration_file_is_valid():
    files = sorted(CONFIGS.glob("*.yaml"))
    assert {"stage0.yaml", "stage3.yaml", "demo.yaml", "overfit.yaml"} <= {f.name for f in files}
    for file in files:
        load_yaml(TrainConfig, file).check()


def test_stage_0_is_the_default():
    assert config_of() == config_of("--stage", 0)


def test_flags_of_the_original_tool():
    words = "--static_root s --bl_root b --yv_root y --davis_root d --num_workers 2 -b 3 -i 50"
    more = "--steps 20 40 --lr 1e-3 --gamma 0.5 --no_amp --seed 7 --deterministic --benchmark"
    config = config_of("--stage", 2, *words.split(), *more.split(), "--debug")
    data = config.data
    roots = (data.static_root, data.bl_root, data.yv_root, data.davis_root)
    assert [str(root) for root in roots] == ["s", "b", "y", "d"]
    assert (data.num_workers, config.batch_size, config.iterations) == (2, 3, 50)
    assert (config.steps, config.lr, config.gamma) == ((20, 40), 1e-3, 0.5)
    assert (config.amp, config.seed, config.deterministic) == ("off", 7, True)


def test_long_flags_and_the_one_of_older_launchers():
    config = config_of("--batch_size", 2, "--iterations", 9, "--local_rank=1")
    assert (config.batch_size, config.iterations) == (2, 9)


def test_pairs_come_after_flags_and_file():
    config = config_of("--stage", 3, "--lr", 1, "data.crop", 96, "lr=0.5", "pretrained", "false")
    assert (config.data.crop, config.lr, config.pretrained) == (96, 0.5, False)


def test_pairs_that_only_fit_together():
    config = config_of("stage", 3, "data.source", "synthetic", "network.others_channel", "true")
    assert config.data.source == "synthetic"


def test_defaults_of_flags(tmp_path, monkeypatch):
    args = _parser().parse_args([])
    assert (args.id, str(args.saves), str(args.logs)) == ("NULL", "saves", "log")
    assert (args.load_network, args.load_model, args.debug) == (None, None, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.sorce", "davis"), "data.source"),
        (("lr", "fast"), "lr"),
        (("data.crop", 100), r"data\.crop must be a multiple of 16"),
        (("batch_size", 0), "batch_size must be at least 1"),
        (("bootstrap_start", 80_000), "bootstrap_end"),
        (("network.key_block", "dense"), r"network\.key_block"),
        (("data.source", "davis"), "network.others_channel true"),
        (("stage", 2), "does not go with data.source 'static'"),
        (("lr",), "no value"),
    ],
)
def test_bad_values_name_the_key(words, message):
    with pytest.raises(ConfigError, match=message):
        config_of(*words)


def test_stage_and_file_must_agree(train_yaml):
    assert config_of("--config", train_yaml).stage == 3
    with pytest.raises(ConfigError, match="--stage 1 does not go with"):
        config_of("--config", train_yaml, "--stage", 1)


def test_unknown_flag_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as caught:
        config_of("--load_modle", "x.pth")
    assert caught.value.code == 2
    assert "did you mean --load_model?" in capsys.readouterr().err


def names(loader):
    return {name for batch in loader.batches(0, len(loader)) for name in batch["info"]["name"]}


def test_davis_alone_uses_its_own_list(train_config, tmp_path):
    loader = build_loader(train_config())
    assert len(loader) == 5  # two videos, five times each, in batches of two
    assert names(loader) == {"ant", "bee"}
    subset = tmp_path / "subset.txt"
    subset.write_text("bee\n")
    assert names(build_loader(train_config(data__davis_subset=subset))) == {"bee"}


def test_main_data_needs_both_sets(train_config, train_root, tmp_path):
    subset = tmp_path / "subset.txt"
    subset.write_text("ant\n")
    config = train_config(
        data__source="main", data__davis_subset=subset, data__yv_root=tmp_path / "absent"
    )
    with pytest.raises(DatasetError, match="absent"):
        build_loader(config)


def test_davis_without_frames_or_list(train_config, tmp_path):
    config = train_config(data__davis_root=tmp_path)
    with pytest.raises(DatasetError, match=r"folder not found.*JPEGImages"):
        build_loader(config)
    (tmp_path / "2017/trainval/JPEGImages/480p").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"train\.txt"):
        build_loader(config)
