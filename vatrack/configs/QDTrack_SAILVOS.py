# As on SAIL-VOS-cut, on whole videos.
_base_ = "./QDTrack_SAILVOScut.py"

data_root = "../data/"
data = dict(
    train=dict(
        ann_file=data_root + "sailvos_complete_json/visible/train.json",
        img_prefix=data_root + "sailvos_complete_png/",
    ),
    val=dict(
        ann_file=data_root + "sailvos_complete_json/visible/valid.json",
        img_prefix=data_root + "sailvos_complete_png/",
    ),
    test=dict(
        ann_file=data_root + "sailvos_complete_json/visible/valid.json",
        img_prefix=data_root + "sailvos_complete_png/",
    ),
)
