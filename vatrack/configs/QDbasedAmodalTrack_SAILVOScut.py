# AmodalTrack: the network of QDTrack with amodal boxes and masks.
_base_ = "./QDTrack-frcnn_x101_fpn_12e.py"


data_root = "../data/"
data = dict(
    train=dict(
        kind="amodal",
        ann_file=data_root + "sailvos_cut_json/amodal/train.json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    val=dict(
        kind="amodal",
        ann_file=data_root + "sailvos_cut_json/amodal/valid.json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    test=dict(
        kind="amodal",
        ann_file=data_root + "sailvos_cut_json/amodal/valid.json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
)
