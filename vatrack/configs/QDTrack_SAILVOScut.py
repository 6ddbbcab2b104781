# QDTrack: visible boxes and masks.
_base_ = "./QDTrack-frcnn_x101_fpn_12e.py"


data_root = "../data/"
data = dict(
    train=dict(
        kind="visible",
        ann_file=data_root + "sailvos_cut_json/visible/train.json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    val=dict(
        kind="visible",
        ann_file=data_root + "sailvos_cut_json/visible/valid.json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    test=dict(
        kind="visible",
        ann_file=data_root + "sailvos_cut_json/visible/valid.json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
)
