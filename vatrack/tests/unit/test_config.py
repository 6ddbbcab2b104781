"""Configurations: the reader, merging, what components may say, the settings made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vatrack.config import (
    CONFIGS,
    dataset_settings,
    inference_settings,
    load_config,
    loss_settings,
    model_settings,
    network_kind,
    resolve_path,
    tracker_settings,
    train_settings,
)
from vatrack.config_reader import Section, read_python
from vatrack.inference.settings import InferenceSettings, TrackerSettings
from vatrack.losses.settings import CLASS_WEIGHTS, LossSettings
from vatrack.model.settings import BACKBONES, ModelSettings
from vidseg_common.errors import ConfigError

NAMES = {
    "QDTrack": "qdtrack",
    "QDbasedAmodalTrack": "amodaltrack",
    "QDbasedVATrack": "vatrack",
    "QDbasedVATrack_twobbox": "vatrack2bbox",
}
SHIPPED = [f"{name}_{data}" for name in NAMES for data in ("SAILVOS", "SAILVOScut")]


def read(folder, text, name="c.py"):
    (folder / name).write_text(text)
    return read_python(folder / name).values


def load(folder, text, **kwargs):
    """A shipped configuration with a file over it."""
    base = f"_base_ = {str(CONFIGS / 'QDbasedVATrack_SAILVOScut.py')!r}\n"
    (folder / "c.py").write_text(base + text)
    return load_config(folder / "c.py", **kwargs)


# --- the reader -----------------------------------------------------------------------------------


def test_values_are_literals_calls_and_names(tmp_path):
    values = read(
        tmp_path,
        '"""A text."""\n'
        "a = dict(x=1.0 / 4, y=-2, z=[1, (2, 3)], flag=not True)\n"
        "b = dict(a, x=2)\nc = {'k': None, **a}\nroot = 'data/'\n"
        "path = root + 'x.json'\nd = [0.0] * 3 + list((1,))\ne = tuple([1, 2])\n__hidden = 3\n",
    )
    assert values["a"] == {"x": 0.25, "y": -2, "z": [1, (2, 3)], "flag": False}
    assert values["b"]["x"] == 2 and values["c"]["k"] is None and values["c"]["y"] == -2
    assert values["path"] == "data/x.json" and values["d"] == [0.0, 0.0, 0.0, 1]
    assert values["e"] == (1, 2) and "__hidden" not in values
    assert values.where("path") == f"{tmp_path / 'c.py'}:6"


def test_a_name_stands_for_a_copy(tmp_path):
    values = read(tmp_path, "a = dict(x=dict(y=1))\nb = dict(p=a, q=a)\n")
    values["b"]["p"]["x"]["y"] = 2
    assert values["b"]["q"]["x"]["y"] == 1 and values["a"]["x"]["y"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os", "only assignments"),
        ("a = open('x')", "call of 'open'"),
        ("a = __import__('os').system('x')", "may be called"),
        ("a = (lambda: 1)()", "may be called"),
        ("dict = 3\na = dict(x=1)", "may be called"),
        ("a = [x for x in (1, 2)]", "no plain value"),
        ("a = 'x'.upper", "no plain value"),
        ("abc = 1\na = abd", "not assigned above in this file; did you mean abc"),
        ("a = 1\n\n\nb = = 2", r"c.py:4: not Python"),
        ("a = 1 / 0", "zero"),
        ("a = 'x' * 3", "cannot work out"),
        ("a = [1] * 20000", "cannot work out"),
        ("a = 2 ** 8", "cannot work out"),
        ("a, b = 1, 2", "one name before"),
        ("a = {1: 2}", "text as key"),
        ("a = b''", "bytes is no value"),
        ("a = f'{1}'", "no plain value"),
        ("a = dict(1)", "takes one mapping"),
        ("a = list(x=1)", "takes no keywords"),
        ("a = -'x'", "sign"),
        ("a = " + "[" * 300 + "]" * 300, "c.py"),
        ("a = [1, 1, 1, 1]\n" + "a = [a, a, a, a]\n" * 12, "names stand for more"),
        ("a = 10\n" + "a = a * a\n" * 12, "too large"),
    ],
)
def test_what_is_no_plain_value_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "c.py") in str(caught.value)


def test_bases_are_merged_key_by_key(tmp_path):
    (tmp_path / "one.py").write_text("m = dict(a=1, b=dict(x=1, y=2), c=[1, 2])\n")
    (tmp_path / "two.py").write_text("n = 5\n")
    values = read(
        tmp_path,
        "_base_ = ['one.py', './two.py']\n"
        "m = dict(b=dict(_delete_=True, z=3), c=[9], d=dict(_delete_=True, q=1))\n",
    )
    assert values == {"m": {"a": 1, "b": {"z": 3}, "c": [9], "d": {"q": 1}}, "n": 5}
    assert values["m"].where("a").endswith("one.py:1")
    assert values["m"].where("c").endswith("c.py:2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_base_ = 'once.py'", r"c.py:1: _base_ names 'once.py'.*did you mean one.py"),
        ("_base_ = 'c.py'", "builds upon itself"),
        ("_base_ = ['one.py', 'uno.py']", "'m' is in more than one"),
        ("_base_ = 'one.py'\nm = dict(a=dict(x=1))", r"c.py:2: 'a' is a mapping here and int"),
        ("_base_ = [3]", "expects names of files"),
    ],
)
def test_bases_that_do_not_fit(tmp_path, text, message):
    for name in ("one.py", "uno.py"):
        (tmp_path / name).write_text("m = dict(a=1)\n")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_files_that_are_none(tmp_path):
    for name, data, message in (
        ("a.py", b"\xff\xfe\x00", "text file"),
        ("a.py", b"a" * (2 << 20), "is no configuration"),
        ("a.yaml", b"a: 1", r"in Python, \*.py"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=message):
            read_python(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_python(tmp_path / "none.py")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(value=PLAIN)
def test_literals_are_read_as_python_reads_them(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("literals")
    (folder / "c.py").write_text(f"a = {value!r}\n", encoding="utf-8")
    assert read_python(folder / "c.py").values["a"] == value


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("backbone", [None, "x101", "r50"])
def test_shipped_configurations_say_the_published_values(name, backbone):
    cfg = load_config(name, backbone=backbone)
    kind, is_small = NAMES[name.rpartition("_")[0]], backbone == "r50"
    network = BACKBONES["r50" if is_small else "x101"]
    assert model_settings(cfg) == ModelSettings(kind=kind, **network)
    assert inference_settings(cfg) == InferenceSettings()
    assert loss_settings(cfg) == LossSettings()
    train = train_settings(cfg)
    assert train.samples_per_gpu == train.workers_per_gpu == (8 if is_small else 4)
    assert train.schedule.lr == (0.005 if is_small else 0.0025)
    warmup = 6000 if kind.startswith("vatrack") else 2000
    assert (train.schedule.warmup_iters, train.schedule.warmup_ratio) == (warmup, 1 / warmup)
    assert (train.epochs, train.momentum, train.weight_decay) == (12, 0.9, 1e-4)
    assert train.grad_clip is None and not train.is_mixed
    assert (train.pretrained, train.load_from) == (
        ("torchvision://resnet50", None)
        if is_small
        else (None, "../data/ckpts/resnext101_64_4d.pth")
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_name_the_published_files(name):
    cfg = load_config(name)
    kind = network_kind(cfg)
    folder = "cut" if name.endswith("cut") else "complete"
    ending = {"vatrack": "(bbox=amdl_bbox)", "vatrack2bbox": "(bbox=both_bbox)"}.get(kind, "")
    masks = {"qdtrack": "visible", "amodaltrack": "amodal"}.get(kind, "joint")
    for role, split in (("train", "train"), ("val", "valid"), ("test", "valid")):
        (data,) = dataset_settings(cfg, role)
        expected = f"../data/sailvos_{folder}_json/{masks}/{split}{ending}.json"
        assert (data.ann_file.as_posix(), data.masks) == (expected, masks)
        assert data.img_prefix.as_posix() == f"../data/sailvos_{folder}_png"
        assert data.two_boxes == (kind == "vatrack2bbox") and len(data.classes) == 24
        assert data.drop_empty == (role == "train")
        assert data.pipeline.flip_ratio == (0.5 if role == "train" else 0)
        assert data.pipeline.img_scale == (1280, 800) and data.pipeline.size_divisor == 32


@pytest.mark.parametrize("name", SHIPPED[:2] + SHIPPED[-2:])
def test_the_text_of_a_configuration_says_the_same(name, tmp_path):
    cfg = load_config(name, backbone="r50")
    (tmp_path / "c.py").write_text(cfg.text)
    again = load_config(tmp_path / "c.py")
    assert again.text == cfg.text
    assert model_settings(again) == model_settings(cfg)
    assert train_settings(again) == train_settings(cfg)


def test_a_backbone_keeps_what_options_say_and_a_file_of_it_as_it_is(tmp_path):
    cfg = load(tmp_path, "", backbone="r50", options=["optimizer.lr=0.01"])
    assert train_settings(cfg).schedule.lr == 0.01
    cfg = load(tmp_path, "optimizer = dict(lr=0.007)\n", backbone="x101")
    assert train_settings(cfg).schedule.lr == 0.007
    cfg = load(tmp_path, "model = dict(backbone=dict(frozen_stages=2))\n", backbone="r50")
    assert model_settings(cfg).frozen_stages == 2
    with pytest.raises(ConfigError, match="no backbone 'r5o'; did you mean r50"):
        load(tmp_path, "", backbone="r5o")


def test_options(tmp_path):
    cfg = load(
        tmp_path,
        "",
        options=[
            "data.train.ann_file=my.json",
            "total_epochs=3",
            "lr_config.step=[1,2]",
            "evaluation.metric=bbox,segm",
            "model.tracker.with_cats=False",
            "load_from=none",
            "fp16.loss_scale=512.0",
        ],
    )
    train = train_settings(cfg)
    assert (train.epochs, train.schedule.steps, train.metrics) == (3, (1, 2), ("bbox", "segm"))
    assert train.load_from is None and train.is_mixed
    assert not tracker_settings(cfg).with_cats
    assert dataset_settings(cfg, "train")[0].ann_file.name == "my.json"


def test_lists_of_data_sets(tmp_path):
    one = "dict(type='SAILVOSVideoDataset', ann_file='a.json', img_prefix='p', data_root='r')"
    text = f"data = dict(_delete_=True, train=[{one}, {one}])\n"
    cfg = load(tmp_path, text, options=["data.train.1.ann_file=b.json"])
    first, second = dataset_settings(cfg, "train")
    assert (first.ann_file.as_posix(), second.ann_file.as_posix()) == ("r/a.json", "r/b.json")
    with pytest.raises(ConfigError, match=r"no data\.test"):
        dataset_settings(cfg, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model = dict(backbone=dict(type='ResNext'))",
            r"py:2: .*no backbone.*did you mean ResNeXt",
        ),
        ("model = dict(roi_head=dict(type='X'))", "no roi head is called 'X'; there are Quasi"),
        ("model = dict(trackr=dict(type='x'))", "unknown key 'model.trackr'; did you mean tracker"),
        ("modle = dict(type='x')", "nothing reads 'modle'; did you mean model"),
        ("optimizer = dict(type='Adam', _delete_=True)", "no optimizer is called 'Adam'"),
        ("model = dict(backbone=dict(style='caffe'))", "expected one of 'pytorch'"),
        ("model = dict(backbone=dict(depth='50'))", r"depth: expected one of 50, 101, 152, got"),
        ("model = dict(tracker=dict(memo_momentum='a'))", "expected a number, got 'a'"),
        ("total_epochs = True", "expected a whole number, got True"),
        ("log_config = 3", r"log_config: expected a mapping"),
        ("data = dict(train=dict(type='SAILVOSDataset'))", "no dataset.*did you mean SAILVOSVideo"),
        (
            "data = dict(train=dict(pipeline=[dict(type='SeqResise')]))",
            r"data.train.pipeline.0.type: no transform.* did you mean SeqResize",
        ),
        ("data = dict(train=dict(pipeline=[dict(keep=1)]))", "no type; expected one of"),
    ],
)
def test_what_no_component_knows(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model = dict(roi_head=dict(mask_head=dict(num_classes=5)))",
            r"num_classes is 5 here and 24 in model.roi_head.bbox_head.num_classes",
        ),
        (
            "model = dict(roi_head=dict(type='JointBBoxMaskQuasiDenseRoIHead'))",
            "needs JointMaskQuasiDenseRoIHead, got JointBBoxMaskQuasiDenseRoIHead",
        ),
        ("tracker = dict(type='QuasiDenseSegEmbedTracker')", "tracker is also in the model"),
        ("model = dict(tracker=dict(memo_momentum=3))", "memo_momentum: expected 0 to 1"),
        (
            "model = dict(rpn_head=dict(anchor_generator=dict(scales=[4, 8])))",
            "expected one scale",
        ),
        (
            "model = dict(roi_head=dict(mask_roi_extractor=dict(featmap_strides=[4, 8])))",
            r"featmap_strides: expected \[4, 8, 16, 32\]",
        ),
        ("data = dict(test=dict(type='SAILVOSVideoDatasetNoJoint'))", "needs SAILVOSVideoDataset"),
        ("data = dict(test=dict(kind='visible'))", "SAILVOSVideoDataset has no visible masks"),
        ("data = dict(test=dict(classes=['a', 'b']))", "2 classes, but num_classes"),
        (
            "model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(class_weight=[1.0]))))",
            "expected 25 weights, background last, got 1",
        ),
        ("evaluation = dict(metric='bbx')", "expected bbox, segm, track, segtrack, got bbx"),
        ("total_epochs = 0", "epochs: expected 1 or more"),
    ],
)
def test_parts_that_do_not_go_together(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        cfg = load(tmp_path, text)
        model_settings(cfg)
        inference_settings(cfg)
        loss_settings(cfg)
        train_settings(cfg)
        dataset_settings(cfg, "test")


def test_masks_of_the_kind_option_come_before_the_words_of_the_path(tmp_path):
    def data_of(changes):
        base = f"_base_ = {str(CONFIGS / 'QDTrack_SAILVOScut.py')!r}\n"
        (tmp_path / "c.py").write_text(base + f"data = dict(test=dict({changes}))\n")
        return load_config(tmp_path / "c.py")

    assert network_kind(data_of("kind='amodal'")) == "amodaltrack"
    old = "_delete_=True, type='SAILVOSVideoDatasetNoJoint', img_prefix='p', ann_file="
    assert network_kind(data_of(f"{old}'x/amodal/valid.json'")) == "amodaltrack"
    assert network_kind(data_of(f"{old}'x/visible/valid.json'")) == "qdtrack"
    with pytest.raises(ConfigError, match="does not tell whether masks are visible or amodal"):
        network_kind(data_of(f"{old}'x/valid.json'"))


def test_sections_of_test_and_training_may_stand_beside_the_model(tmp_path):
    (tmp_path / "c.py").write_text(
        "model = dict(type='QuasiDenseMaskRCNN', tracker=dict(type='QuasiDenseSegEmbedTracker'))\n"
        "test_cfg = dict(rcnn=dict(score_thr=0.3, nms=dict(type='nms', iou_thr=0.4)))\n"
        "train_cfg = dict(rcnn=dict(sampler=dict(type='RandomSampler', num=9)))\n"
    )
    cfg = load_config(tmp_path / "c.py")
    settings = inference_settings(cfg)
    assert (settings.score_thr, settings.nms_iou_thr) == (0.3, 0.4)
    assert settings.tracker == TrackerSettings()
    assert loss_settings(cfg).box_sample.num == 9
    assert loss_settings(cfg).class_weights == CLASS_WEIGHTS


def test_names_of_configurations(tmp_path):
    cfg = load_config("../configs/QDTrack_SAILVOScut.py")
    assert cfg.path == CONFIGS / "QDTrack_SAILVOScut.py"
    with pytest.raises(ConfigError, match="did you mean QDTrack_SAILVOScut"):
        load_config("QDTrak_SAILVOScut")
    with pytest.raises(ConfigError, match="no such configuration"):
        load_config(tmp_path / "QDTrack_SAILVOScut.py")


def test_data_may_lie_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("VATRACK_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert resolve_path("../data/x/y.json") == tmp_path / "x" / "y.json"
    assert resolve_path("data/x.json") == tmp_path / "x.json"
    assert resolve_path("other/x.json").as_posix() == "other/x.json"
    assert resolve_path(tmp_path / "z") == tmp_path / "z"
    monkeypatch.delenv("VATRACK_DATA")
    assert resolve_path("../data/x.json").as_posix() == "../data/x.json"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("data.train", "expected KEY=VALUE"),
        ("total_epochs.x=3", "there is no|is a value"),
        ("model.backbone.dept=50", "--cfg-options: unknown key 'model.backbone.dept'; did you"),
        ("data.trian.ann_file=x", "unknown key 'data.trian'; did you mean train"),
    ],
)
def test_options_that_do_not_fit(tmp_path, option, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, "", options=[option])


def test_sections_know_places():
    section = Section({"a": 1}, "f.py:1")
    section.put("b", 2, "f.py:2")
    assert (section.where("a"), section.where("b")) == ("f.py:1", "f.py:2")
